"""What `benches/peers` compares: how each server is started, where it runs, what loads it."""
import contextlib, ctypes, hashlib, os, re, shlex, shutil, signal, socket, statistics, subprocess, sys, time
from pathlib import Path
from string import Template

CONFIGS = Path(__file__).resolve().parent / "configs"
ORIGIN = "example.com"
CPUS = sorted(os.sched_getaffinity(0))
LOAD_CPU, SERVER_CPU = (CPUS * 2)[:2]
CLONE_NEWNET = 0x40000000
# ns1.example.com, A: it is in every zone that is made here.
READY_QUESTION = b"\x12\x34\0\0\0\1\0\0\0\0\0\0\3ns1\7example\3com\0\0\1\0\1"

# Name: program, how it tells its version, arguments. Configurations are in configs/NAME.
SERVERS = {
    "echo": ("$echo", None, "$ip:$port --seconds 86400 --octets $octets"),
    "shardns": ("$shardns", None, "serve $origin=$zone --listen $ip:$port --workers 1 --no-tcp"),
    # Past the sockets, each on an interface of its own.
    "echo-xdp": ("$echo", None, "$ip:$port --seconds 86400 --octets $octets --xdp $device"),
    "shardns-xdp": ("$shardns", None, "serve $origin=$zone --listen $ip:$port --workers 1 --no-tcp --xdp $device"),
    "knot-xdp": ("knotd", "-V", "-c $folder/knot.conf"),
    "gdnsd": ("gdnsd", "-h", "-c $folder start"),
    "nsd": ("nsd", "-v", "-d -c $folder/nsd.conf"),
    "knot": ("knotd", "-V", "-c $folder/knot.conf"),
    "bind": ("named", "-v", "-f -c $folder/named.conf -n 1"),
    "pdns": ("pdns_server", "--version", "--config-dir=$folder"),
}

# Those that do not serve zones as others signed them, or not set up as here.
NEVER_SIGNED = {"gdnsd", "pdns"}

# Those that are on an interface of their own.
PAST_SOCKETS = {"echo-xdp", "shardns-xdp", "knot-xdp"}

# How a zone is signed: whether it has NSEC3.
DENIALS = {"nsec": "off", "nsec3": "on"}

# Name: command, and what to read in its output: queries sent, the value, response codes.
LOADS = {
    "kxdpgun": (
        "kxdpgun -F $cpu -t $seconds -Q $rate -p $port -i $queries $ip",
        r"total queries:\s+(\d+)", r"total replies:.*\((\d+) pps\)", r"responded (\w+):\s+(\d+)",
    ),
    "frames": (
        "$frames $ip:$port --device $load_device --name ns1.example.com --seconds $seconds",
        r'"sent":(\d+)', r'"answers_per_s":([\d.]+)', r'"([A-Z]+\d*)":(\d+)',
    ),
    "dnsperf": (
        "dnsperf $dnssec -s $ip -p $port -d $queries -l $seconds -c 16 -q 512 -T 1",
        r"Queries sent:\s+(\d+)", r"Queries per second:\s+([\d.]+)", r"([A-Z]+\d*) (\d+) \(",
    ),
    "flood": (
        "$flood $ip:$port --queries $queries --seconds $seconds --json --flows 16 --window 32",
        r'"sent":(\d+)', r'"answers_per_s":([\d.]+)', r'"([A-Z]+\d*)":(\d+)',
    ),
    "one at a time": (
        "$flood $ip:$port --queries $queries --seconds $seconds --json --flows 1 --window 1 --spin",
        r'"sent":(\d+)', r'"p50":(\d+)', r'"([A-Z]+\d*)":(\d+)',
    ),
}


def program_and_arguments(server):
    """Those of a server's name, or of what stands behind `NAME=`."""
    program, _, arguments = SERVERS.get(server) or (server.split("=", 1)[1], None, "")
    return f"{program} {arguments}".rstrip()


def version(program, option):
    """What in the output looks like a version; none where the program is not installed."""
    if not shutil.which(program):
        return None
    output = subprocess.run([program, option], capture_output=True, text=True, timeout=10)
    found = re.search(r"\d+\.\d+(\.\d+)?", output.stdout + output.stderr)
    return found.group() if found else "of unknown version"


def sign(zone, denial, folder, cache):
    """The zone as `kzonesign` signs it, which takes minutes for a million names: what was once
    signed is kept, under a name that tells whether it is the same zone."""
    rules = (CONFIGS / "sign/knot.conf").read_text()
    digest = hashlib.sha256(zone.read_bytes() + rules.encode()).hexdigest()[:16]
    signed = cache / f"{denial}-{digest}.zone"
    if not signed.exists():
        print(f"signing {zone}, once", flush=True)
        (folder / denial).mkdir()
        words = dict(folder=folder / denial, origin=ORIGIN, zone=zone, nsec3=DENIALS[denial], threads=len(CPUS))
        (folder / "sign.conf").write_text(Template(rules).substitute(words))
        # This process may have been bound to one of them since.
        command = ["taskset", "-c", ",".join(map(str, CPUS)), "kzonesign", "-c", folder / "sign.conf", "-o", folder / denial, ORIGIN]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            sys.exit(f"kzonesign: {done.stderr.strip()}")
        cache.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / denial / zone.name, f"{signed}.part")
        os.replace(f"{signed}.part", signed)
    return signed


class Server:
    """One server: configured, started, asked until it answers, loaded, stopped."""

    def __init__(self, server, place, port, zone, built, folder, octets=0):
        self.name, self.place, self.zone = server.split("=")[0], place, zone
        own = self.name in PAST_SOCKETS or "$device" in program_and_arguments(server)
        ip, device, load_device = place.pair() if own else (place.ip, "server0", "load0")
        self.address = (ip, port)
        # Knot pins its workers itself, from CPU 0 up.
        self.cpu, self.load_cpu = (LOAD_CPU, SERVER_CPU) if server.startswith("knot") else (SERVER_CPU, LOAD_CPU)
        self.folder = folder / self.name
        self.process, self.failed, self.pss = None, None, None
        # Of each start: seconds to the first answer, and what they cost.
        self.ready, self.ready_cpu = [], []
        self.words = dict(
            built, ip=ip, port=port, zone=zone, origin=ORIGIN, folder=self.folder, octets=octets,
            device=device, load_device=load_device)
        self.command = shlex.split(Template(program_and_arguments(server)).substitute(self.words))

    def configure(self):
        for folder in ("run", "state", "zones"):
            (self.folder / folder).mkdir(parents=True)
        for file in CONFIGS.glob(f"{self.name}/*"):
            (self.folder / file.name).write_text(Template(file.read_text()).substitute(self.words))
        if self.name == "gdnsd":
            os.link(self.zone, self.folder / "zones" / ORIGIN)
        if self.name == "bind":
            # Debian's AppArmor keeps /usr/sbin/named to its own folders; a copy is left alone.
            self.command[0] = shutil.copy(shutil.which("named"), self.folder)

    def start(self, patience):
        if not self.folder.exists():
            self.configure()
        # Neither the asking below nor the load shall take time from the server.
        os.sched_setaffinity(0, {self.load_cpu})
        # Killed with this process, however that ends.
        prefix = [*self.place.inside, "setpriv", "--pdeathsig", "KILL", "taskset", "-c", str(self.cpu)]
        start = time.monotonic()
        with (self.folder / "log").open("w") as log:
            command = prefix + self.command
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(0.002)
            client.connect(self.address)
            while not self.answers(client):
                if self.process.poll() is not None or time.monotonic() - start > patience:
                    return self.fail("did not start")
        self.ready.append(time.monotonic() - start)
        self.ready_cpu.append(self.cpu_seconds())

    def answers(self, client):
        """Asks, and listens a moment for an answer to this or an earlier question."""
        try:
            client.send(READY_QUESTION)
            reply = client.recv(2048)
            return len(reply) >= 12 and reply[3] & 15 == 0
        except TimeoutError:
            return False
        except OSError:
            time.sleep(0.002)
            return False

    def load(self, load, queries, options):
        """Loads it from the other CPU; returns what came of it."""
        if self.process.poll() is not None:
            raise ValueError("it ended on its own")
        command, *patterns = LOADS[load]
        words = dict(self.words, cpu=self.load_cpu, queries=queries, seconds=options.seconds, rate=options.rate)
        words["dnssec"] = "-D" if options.signed else ""
        command = ["taskset", "-c", str(self.load_cpu), *Template(command).substitute(words).split()]
        before = self.cpu_seconds()
        done = subprocess.run(command, capture_output=True, text=True, timeout=options.seconds + 60)
        busy = round((self.cpu_seconds() - before) / options.seconds, 2)
        sent, value, rcodes = (re.findall(pattern, done.stdout) for pattern in patterns)
        if not sent or not value or not float(value[0]):
            raise ValueError("the load says\n" + (done.stdout + done.stderr)[-500:])
        rcodes = {code: int(count) for code, count in rcodes}
        return {"sent": int(sent[0]), "value": float(value[0]), "busy": busy, "rcodes": rcodes}

    def median_octets(self, questions):
        """Of its answers to these."""
        sizes = []
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(5)
            client.connect(self.address)
            for question in questions:
                client.send(question)
                sizes.append(len(client.recv(4096)))
        return statistics.median_low(sizes)

    def files(self, name):
        """A file of /proc for each of the server's processes, as far as it may be read."""
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                if os.getsid(int(pid)) == self.process.pid:
                    yield Path(f"/proc/{pid}/{name}").read_text()

    def cpu_seconds(self):
        times = (text.rpartition(")")[2].split()[11:13] for text in self.files("stat"))
        return sum(int(user) + int(system) for user, system in times) / os.sysconf("SC_CLK_TCK")

    def measure_memory(self):
        sizes = [int(re.search(r"Pss:\s+(\d+)", text).group(1)) for text in self.files("smaps_rollup")]
        self.pss = sum(sizes) / 1024

    def fail(self, what):
        log = (self.folder / "log").read_text(errors="replace").splitlines()[-5:]
        self.failed = "\n    ".join([f"{self.name}: {what}", *log])
        print(self.failed, file=sys.stderr)

    def stop(self):
        """Ends the processes that it was started as, and nothing else."""
        for ending in (signal.SIGTERM, signal.SIGKILL):
            if self.process and self.process.poll() is None:
                with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                    os.killpg(self.process.pid, ending)
                    self.process.wait(10)


class Namespaces:
    """A network for the load, to which this process moves, and one for the servers, which a
    sleeper holds open. Neither has a name; they are gone when their processes are."""

    title, ip = "a veth pair between two network namespaces", "10.97.0.2"

    def __init__(self):
        if not shutil.which("ip"):
            raise RuntimeError("iproute2 is not installed")
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWNET) != 0:
            raise RuntimeError(os.strerror(ctypes.get_errno()))
        sleeper = "setpriv --pdeathsig KILL unshare --net sleep infinity"
        self.holder = subprocess.Popen(sleeper.split(), start_new_session=True)
        self.inside = ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net"]
        own = os.readlink("/proc/self/ns/net")
        while self.holder.poll() is None and os.readlink(f"/proc/{self.holder.pid}/ns/net") == own:
            time.sleep(0.01)
        self.pairs = 0
        self.pair()
        for where in ([], self.inside):
            self.set_up(where, "link set lo up")

    def pair(self):
        """One more veth pair: the server's address, its interface, and the load's."""
        number, one = self.pairs, "numrxqueues 1 numtxqueues 1"
        self.pairs += 1
        load, server = f"load{number}", f"server{number}"
        self.set_up([], f"link add {load} {one} type veth peer name {server} {one} netns {self.holder.pid}")
        for where, device, host in (([], load, 1), (self.inside, server, 2)):
            self.set_up(where, f"address add 10.97.{number}.{host}/24 dev {device}")
            self.set_up(where, f"link set {device} up")
        return f"10.97.{number}.2", server, load

    def set_up(self, where, arguments):
        subprocess.run([*where, "ip", *arguments.split()], check=True, timeout=10)

    def port(self, index):
        return 5400 + index

    def close(self):
        self.holder.kill()
        self.holder.wait()


class Loopback:
    """For whoever has no root: ports of 127.0.0.1 that nobody has."""

    title, ip, inside = "loopback", "127.0.0.1", []

    def port(self, _index):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((self.ip, 0))
            return probe.getsockname()[1]

    def pair(self):
        sys.exit("servers past the sockets have interfaces of their own, which takes root")

    def close(self):
        pass
