// The page of the bench: reads frames, a line of JSON each, draws the lanes, fills the
// table, and sends what the buttons say. It knows nothing that is not in a frame.
"use strict";

const byId = (id) => document.getElementById(id);
const count = new Intl.NumberFormat("en-GB");
const still = matchMedia("(prefers-reduced-motion: reduce)");
const dark = matchMedia("(prefers-color-scheme: dark)");
const NOWHERE = 255;

/* The address: `#token=…&sockets=8&…`. The token is taken out of it and kept for this
   origin, so that what is copied from there can be shown to anybody. */

const KEY = "token";
const fragment = new URLSearchParams(location.hash.slice(1));
if (fragment.has("token")) {
  localStorage.setItem(KEY, fragment.get("token"));
  fragment.delete("token");
  history.replaceState(null, "", "#" + fragment);
}
let wanted = fragment.toString();

function ask(path, method, signal) {
  const token = localStorage.getItem(KEY) || "";
  return fetch(path, { method, headers: { "X-Shardns-Token": token }, cache: "no-store", signal });
}

/* What is there. */

let frame = null;
let at = new Uint8Array(0);
let moved = new Uint8Array(0);
let waits = new Uint8Array(0);
// How brightly each flow's dot glows, and where it is drawn.
let glow = new Float32Array(0);
let x = new Float32Array(0);
let y = new Float32Array(0);
let placed = false;

let past = [];
// Somebody has something done, perhaps on another page.
let doing = false;

function octets(text) {
  const raw = atob(text);
  const all = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) all[i] = raw.charCodeAt(i);
  return all;
}
const bit = (bits, i) => (bits[i >> 3] >> (i & 7)) & 1;

function take(line) {
  frame = JSON.parse(line);
  at = octets(frame.at);
  waits = octets(frame.waits);
  if (glow.length !== at.length) {
    glow = new Float32Array(at.length);
    x = new Float32Array(at.length);
    y = new Float32Array(at.length);
    placed = false;
  }
  const lit = octets(frame.lit);
  for (let i = 0; i < at.length; i++) if (bit(lit, i)) glow[i] = 1;
  if (frame.moved !== null) moved = octets(frame.moved);
  if (frame.said) tell(frame.said);
  if (Boolean(frame.doing) !== doing) {
    doing = Boolean(frame.doing);
    enable();
  }
  const now = frame.time_us / 1e6;
  if (past.length && past[past.length - 1].now > now) past = [];
  past.push({ now, lanes: new Map(frame.lanes.map((lane) => [lane.socket, lane.answers])), totals: frame.totals });
  while (past.length > 2 && past[0].now < now - 1) past.shift();
  window.framesReceived = past.length > 1 ? (past.length - 1) / (now - past[0].now) : 0;
}

/* What is said. */

let said = null;
function tell(news) {
  // The first frame after a pause tells the last again.
  if (said && said.number !== news.number) {
    const item = document.createElement("li");
    item.textContent = said.text;
    byId("log").prepend(item);
    while (byId("log").children.length > 20) byId("log").lastChild.remove();
  }
  said = news;
  byId("said").dataset.number = news.number;
  // The figures stand out; the odd parts of such a split are the figures.
  byId("said").replaceChildren(...news.text.split(/(\d+(?:,\d{3})*)/).map((part, i) => {
    if (i % 2 === 0) return part;
    const figure = document.createElement("strong");
    figure.textContent = part;
    return figure;
  }));
  byId("history").hidden = byId("log").children.length === 0;
  fill(frame.setup);
  history.replaceState(null, "", "#" + frame.setup);
}

// What somebody has begun to fill in is left to him.
const FIELDS = ["sockets", "flows", "rate", "steer"];
const edited = new Set();
for (const name of FIELDS) byId(name).addEventListener("input", () => edited.add(name));
function fill(setup) {
  const values = new URLSearchParams(setup);
  for (const name of FIELDS) if (!edited.has(name)) byId(name).value = values.get(name);
}

// An action waits for those before it as long as the bench lets it, and takes its time.
const PATIENCE = 90_000;

let acting = false;
async function act(action, words) {
  if (acting) return;
  acting = true;
  byId("said").classList.add("busy");
  byId("said").textContent = words + " …";
  enable();
  try {
    const response = await ask("/act/" + action, "POST", AbortSignal.timeout(PATIENCE));
    if (!response.ok) byId("said").textContent = (await response.text()).trim();
  } catch {
    byId("said").textContent = "The bench does not answer; has `shardns lab play` ended?";
  }
  acting = false;
  byId("said").classList.remove("busy");
  enable();
}

function enable() {
  for (const button of document.querySelectorAll("#setup button, #acts button")) button.disabled = acting || doing || !frame;
}

/* The table. */

const rows = byId("rows");
let order = "";
function shape() {
  const now = frame.lanes.map((lane) => lane.socket + lane.kind + lane.process).join();
  if (now === order) return;
  order = now;
  const chosen = byId("socket").value;
  rows.replaceChildren(...frame.lanes.map((lane) => {
    const row = document.createElement("tr");
    row.dataset.socket = lane.socket;
    const head = document.createElement("th");
    head.scope = "row";
    head.textContent = { own: lane.socket, process: lane.socket + " proc.", python: "Python" }[lane.kind];
    head.title = "process " + lane.process;
    row.append(head);
    for (let i = 0; i < 5; i++) row.append(document.createElement("td"));
    return row;
  }));
  byId("socket").replaceChildren(...frame.lanes.map((lane) => {
    const name = { own: lane.socket, process: lane.socket + " (process)", python: "Python" }[lane.kind];
    return new Option(name, lane.socket);
  }));
  const numbers = frame.lanes.map((lane) => String(lane.socket));
  byId("socket").value = numbers.includes(chosen) ? chosen : numbers[Math.min(2, numbers.length - 1)];
  choose();
  const height = frame.lanes.length > 32 ? 16 : frame.lanes.length > 16 ? 22 : frame.lanes.length > 8 ? 30 : 40;
  rows.parentElement.style.setProperty("--row", height + "px");
  placed = false;
  const pressed = (kind) => frame.lanes.some((lane) => lane.kind === kind);
  for (const kind of ["process", "python"]) {
    const button = document.querySelector(`[data-act="${kind}"]`);
    button.setAttribute("aria-pressed", pressed(kind));
  }
}

function choose() {
  for (const row of rows.children) row.classList.toggle("chosen", row.dataset.socket === byId("socket").value);
}

function put(cell, value, bad) {
  const text = typeof value === "number" ? count.format(value) : value;
  if (cell.textContent !== text) cell.textContent = text;
  cell.classList.toggle("bad", Boolean(bad));
}

function fillTable() {
  const first = past[0];
  const last = past[past.length - 1];
  const seconds = Math.max(last.now - first.now, 0.03);
  tellPace((last.totals.sent - first.totals.sent) / seconds, seconds, last.now);
  const rate = (now, before) => Math.max(0, Math.round((now - (before ?? now)) / seconds));
  frame.lanes.forEach((lane, i) => {
    const cells = rows.children[i].children;
    const known = lane.kind !== "python";
    put(cells[2], lane.flows);
    put(cells[3], rate(lane.answers, first.lanes.get(lane.socket)));
    put(cells[4], known ? lane.queued : "?", lane.queued >= 10);
    put(cells[5], known ? lane.dropped : "?", lane.dropped > 0);
  });
  put(byId("sent"), rate(frame.totals.sent, first.totals.sent));
  put(byId("answered"), rate(frame.totals.answered, first.totals.answered));
  put(byId("waiting"), frame.totals.waiting, frame.totals.waiting > 0);
  put(byId("lost"), frame.totals.lost, frame.totals.lost > 0);
  put(byId("dropped"), frame.dropped, frame.dropped > 0);
  put(byId("overrun"), frame.totals.overrun, frame.totals.overrun > 0);
  const [low, high] = frame.band;
  put(byId("band"), `where 95 of 100 lanes end by chance: ${count.format(low)} to ${count.format(high)}`);
  const within = frame.lanes.filter((lane) => lane.flows >= low && lane.flows <= high).length;
  const odds = frame.p === null ? "Too few ports to test whether that is chance."
    : frame.p < 0.001 ? "Chance is hardly ever as uneven as that."
      : `Chance is as uneven, or more, in ${Math.round(frame.p * 100)} of 100 draws.`;
  put(byId("verdict"), `${within} of ${frame.lanes.length} lanes end within the band. ${odds}`);
}

// Whether the clients send as much as they are to, which they have to fail at for a while.
let behind = null;
function tellPace(sent, seconds, now) {
  const rate = Number(new URLSearchParams(frame.setup).get("rate"));
  if (seconds < 0.5 || sent >= 0.9 * rate) behind = null;
  else behind ??= now;
  const isBehind = behind !== null && now - behind > 2;
  byId("pace").hidden = !isBehind;
  if (isBehind) byId("pace").textContent = `The clients cannot keep up: they send ${count.format(Math.round(sent))} a second, not ${count.format(rate)}. One thread sends no more beside what else this machine does.`;
}

/* The lanes. */

const canvas = byId("canvas");
const brush = canvas.getContext("2d");
let colours = {};
function readColours() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["stays", "moved", "waits", "band"]) colours[name] = style.getPropertyValue("--" + name).trim();
}
readColours();
dark.addEventListener("change", readColours);

let size = "";
let area = { left: 0, top: 0, width: 0, row: 0 };
function measure() {
  const host = byId("lanes").getBoundingClientRect();
  const cell = rows.firstChild?.children[1]?.getBoundingClientRect();
  if (!cell) return;
  const row = rows.getBoundingClientRect().height / rows.children.length;
  area = { left: cell.left - host.left + 4, top: cell.top - host.top, width: cell.width - 8, row };
  const ratio = Math.min(devicePixelRatio || 1, 2);
  const now = [host.width, host.height, ratio, area.left, area.width, row].map((n) => n.toFixed(1)).join();
  if (now === size) return;
  size = now;
  canvas.width = Math.round(host.width * ratio);
  canvas.height = Math.round(host.height * ratio);
  canvas.style.width = host.width + "px";
  canvas.style.height = host.height + "px";
  brush.setTransform(ratio, 0, 0, ratio, 0, 0);
  placed = false;
}

// The widest pitch at which the fullest lane, and the band, have room.
function fit(most) {
  for (let pitch = 14; pitch > 1; pitch -= 0.5) {
    const high = Math.max(1, Math.floor((area.row - 5) / pitch));
    if (Math.ceil(most / high) * pitch <= area.width) return { pitch, high };
  }
  return { pitch: 1, high: Math.max(1, Math.floor(area.row - 5)) };
}

function draw() {
  measure();
  const { left, top, width, row } = area;
  brush.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
  const lanes = frame.lanes;
  const most = Math.max(1, frame.band[1] * 1.25, ...lanes.map((lane) => lane.flows));
  const { pitch, high } = fit(most);
  const end = (flows) => Math.min(width, (flows / high) * pitch);
  const inset = (row - high * pitch) / 2;
  brush.fillStyle = colours.band;
  const [low, upper] = frame.band;
  for (let lane = 0; lane < lanes.length; lane++) {
    brush.fillRect(left + end(low), top + lane * row + 2, Math.max(2, end(upper) - end(low)), row - 4);
  }
  // A queue is a bar along the lane's foot, full at a thousand datagrams.
  brush.fillStyle = colours.waits;
  lanes.forEach((lane, i) => {
    if (lane.queued > 0) brush.fillRect(left, top + (i + 1) * row - 4, Math.min(1, lane.queued / 1000) * width, 3);
  });
  const next = new Uint16Array(lanes.length);
  const pace = still.matches || !placed ? 1 : 0.22;
  const dot = Math.max(1, pitch > 3 ? pitch - 1.5 : pitch - 0.5);
  for (let kind = 0; kind < 3; kind++) {
    if (kind > 0 && pass[kind].length === 0) continue;
    if (kind === 0) for (const list of pass) list.length = 0;
    if (kind === 0) {
      for (let i = 0; i < at.length; i++) {
        const lane = at[i];
        if (lane === NOWHERE) continue;
        const n = next[lane]++;
        const toX = left + Math.min(width - pitch, Math.floor(n / high) * pitch);
        const toY = top + lane * row + inset + (n % high) * pitch;
        x[i] += (toX - x[i]) * pace;
        y[i] += (toY - y[i]) * pace;
        pass[waits.length && bit(waits, i) ? 2 : moved.length && bit(moved, i) ? 1 : 0].push(i);
      }
    }
    paint(kind, dot);
  }
  placed = true;
}

const pass = [[], [], []];
function paint(kind, dot) {
  if (kind === 2) {
    brush.strokeStyle = colours.waits;
    brush.lineWidth = Math.max(1, dot / 5);
    brush.beginPath();
    for (const i of pass[2]) {
      const inset = dot / 6;
      brush.moveTo(x[i] + inset, y[i] + inset);
      brush.lineTo(x[i] + dot - inset, y[i] + dot - inset);
      brush.moveTo(x[i] + dot - inset, y[i] + inset);
      brush.lineTo(x[i] + inset, y[i] + dot - inset);
    }
    brush.stroke();
    return;
  }
  brush.fillStyle = kind === 1 ? colours.moved : colours.stays;
  // In a few steps of brightness: to set one for every dot costs more than the dots.
  for (let step = 0; step < 4; step++) {
    brush.globalAlpha = [0.42, 0.6, 0.8, 1][step];
    brush.beginPath();
    for (const i of pass[kind]) {
      if (Math.min(3, Math.floor(glow[i] * 4)) !== step) continue;
      if (dot < 4) brush.rect(x[i], y[i], dot, dot);
      else if (kind === 0) {
        brush.moveTo(x[i] + dot, y[i] + dot / 2);
        brush.arc(x[i] + dot / 2, y[i] + dot / 2, dot / 2, 0, 7);
      } else {
        brush.moveTo(x[i] + dot / 2, y[i]);
        brush.lineTo(x[i] + dot, y[i] + dot / 2);
        brush.lineTo(x[i] + dot / 2, y[i] + dot);
        brush.lineTo(x[i], y[i] + dot / 2);
      }
    }
    brush.fill();
  }
  brush.globalAlpha = 1;
}

let ticks = [];
let filled = 0;
function tick(now) {
  requestAnimationFrame(tick);
  if (!frame) return;
  ticks.push(now);
  while (ticks[0] < now - 2000) ticks.shift();
  window.framesPerSecond = ticks.length > 1 ? ((ticks.length - 1) * 1000) / (now - ticks[0]) : 0;
  shape();
  const fade = still.matches ? 1 : 0.9;
  for (let i = 0; i < glow.length; i++) glow[i] *= fade;
  draw();
  if (now - filled > 250) {
    filled = now;
    fillTable();
    byId("fps").textContent = `Drawn ${Math.round(window.framesPerSecond)} times a second, from ${Math.round(window.framesReceived)} frames.`;
  }
}

/* The buttons. */

byId("setup").addEventListener("submit", (event) => {
  event.preventDefault();
  const setup = FIELDS.map((name) => `${name}=${byId(name).value}`);
  // Whoever has joined stays, or joins again.
  const present = new URLSearchParams(frame.setup);
  for (const guest of ["process", "python"]) if (present.has(guest)) setup.push(guest + "=1");
  edited.clear();
  act("set?" + setup.join("&"), "Setting up");
});
for (const button of document.querySelectorAll("[data-act]")) {
  button.addEventListener("click", () => {
    const socket = "socket" in button.dataset ? "=" + byId("socket").value : "";
    act(button.dataset.act + socket, button.textContent);
  });
}
byId("beside").addEventListener("toggle", async () => {
  byId("beside").lastChild.textContent = await (await fetch("beside.py")).text();
}, { once: true });
byId("socket").addEventListener("change", choose);
rows.addEventListener("click", (event) => {
  const row = event.target.closest("tr");
  if (!row) return;
  byId("socket").value = row.dataset.socket;
  choose();
});
byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  localStorage.setItem(KEY, byId("token").value.trim());
  location.reload();
});
addEventListener("hashchange", () => {
  const setup = location.hash.slice(1);
  if (setup && frame && setup !== frame.setup) act("set?" + setup, "Setting up");
});

async function follow(signal) {
  const response = await ask("/frames", "GET", signal);
  if (response.status === 403) {
    byId("said").textContent = "This browser does not have the token of the bench: open the address that `shardns lab play` has printed, or paste the token from it.";
    byId("token-form").hidden = false;
    return;
  }
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    rest += value;
    const lines = rest.split("\n");
    rest = lines.pop();
    // Of what came at once each is taken, since each says who was answered.
    for (const line of lines) {
      const isFirst = !frame;
      const address = wanted;
      take(line);
      if (isFirst) {
        enable();
        if (address && address !== frame.setup) act("set?" + address, "Setting up");
      }
    }
  }
  byId("said").textContent = "The bench has ended.";
  frame = null;
  enable();
}

// A browser has few connections to one place: a tab that nobody sees holds none.
let following = null;
async function run() {
  if (document.hidden || following) return;
  following = new AbortController();
  const { signal } = following;
  try {
    await follow(signal);
  } catch {
    if (!signal.aborted) byId("said").textContent = "The bench has ended, or was never there.";
  }
  following = null;
  if (signal.aborted) run();
}
document.addEventListener("visibilitychange", () => {
  if (document.hidden) following?.abort();
  else run();
});
enable();
requestAnimationFrame(tick);
run();
