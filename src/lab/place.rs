//! Where and when something was measured, and what of that place the figures
//! depend on.

use std::collections::HashMap;
use std::fs;
use std::thread;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

/// Where and when something was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The kernel's release.
    pub kernel: String,
    /// The CPU's model.
    pub cpu: String,
    /// CPUs that the process may use.
    pub cpus: usize,
    /// The commit that the program was built from; `unknown` outside a clone.
    pub commit: String,
    /// When, in UTC.
    pub date: String,
}

/// What the figures depend on beside the machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Surroundings {
    /// A name and what was read, in the order of the page.
    pub settings: Vec<(String, String)>,
}

/// What of the kernel's settings the experiments meet.
const SYSCTLS: [&str; 6] = [
    "net.core.rmem_default",
    "net.core.rmem_max",
    "net.core.busy_poll",
    "net.core.busy_read",
    "net.core.netdev_budget",
    "net.core.bpf_jit_enable",
];
/// How long other processes are watched, and the share of a CPU from which they
/// are named.
const WATCHED: Duration = Duration::from_millis(200);
const BUSY: f64 = 0.05;
/// So many are named.
const NAMED: usize = 5;
/// Ticks of `/proc/PID/stat` a second: `USER_HZ`, which is 100 on every Linux
/// (include/asm-generic/param.h).
const TICKS: f64 = 100.0;

fn read(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.trim().to_owned()
}

impl Machine {
    /// Here and now.
    pub fn here() -> Machine {
        let cpuinfo = read("/proc/cpuinfo");
        let model = cpuinfo
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Machine {
            kernel: read("/proc/sys/kernel/osrelease"),
            cpu: model
                .map_or(std::env::consts::ARCH, |(_, model)| model)
                .into(),
            cpus: crate::server::placement::allowed_cpus().len(),
            commit: env!("SHARDNS_COMMIT").into(),
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        }
    }
}

impl Surroundings {
    /// Here and now; takes a fifth of a second to see who else is busy.
    pub fn here() -> Surroundings {
        let mut settings = vec![
            ("CPU frequency governor", governor()),
            ("CPU mitigations", mitigations()),
            ("hypervisor", hypervisor()),
            ("load (1, 5, 15 minutes)", load()),
            ("memory", memory()),
        ];
        settings.extend(SYSCTLS.map(|name| (name, sysctl(name))));
        settings.push(("other busy processes", busy()));
        let owned = |(name, value): (&str, String)| (name.to_owned(), value);
        Surroundings {
            settings: settings.into_iter().map(owned).collect(),
        }
    }
}

fn told_or(text: String, otherwise: &str) -> String {
    match text.is_empty() {
        true => otherwise.into(),
        false => text,
    }
}

fn sysctl(name: &str) -> String {
    let path = format!("/proc/sys/{}", name.replace('.', "/"));
    told_or(read(&path), "not told")
}

fn governor() -> String {
    let path = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor";
    told_or(read(path), "none (the CPU is not scaled from here)")
}

/// What the kernel does about the faults of the CPU, where it costs something.
fn mitigations() -> String {
    let Ok(faults) = fs::read_dir("/sys/devices/system/cpu/vulnerabilities") else {
        return "not told".into();
    };
    let active = faults.flatten().filter_map(|fault| {
        let state = fs::read_to_string(fault.path()).ok()?;
        let done = state.trim().strip_prefix("Mitigation: ")?.to_owned();
        Some(format!("{}: {done}", fault.file_name().to_string_lossy()))
    });
    let mut active: Vec<String> = active.collect();
    active.sort();
    told_or(active.join("; "), "none active")
}

fn hypervisor() -> String {
    let is_guest = read("/proc/cpuinfo")
        .lines()
        .any(|line| line.starts_with("flags") && line.contains(" hypervisor"));
    match is_guest {
        true => "yes: a virtual machine, whose CPUs others may share".into(),
        false => "none seen".into(),
    }
}

fn load() -> String {
    let load = read("/proc/loadavg");
    let parts: Vec<&str> = load.split(' ').take(3).collect();
    told_or(parts.join(" "), "not told")
}

fn memory() -> String {
    let information = read("/proc/meminfo");
    let mebibytes = |name: &str| {
        let line = information.lines().find_map(|line| line.strip_prefix(name));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kibibytes.map_or("?".into(), |kibibytes| (kibibytes / 1024).to_string())
    };
    format!(
        "{} MiB, {} MiB of it available",
        mebibytes("MemTotal:"),
        mebibytes("MemAvailable:")
    )
}

/// Other processes that take a share of a CPU worth naming.
fn busy() -> String {
    let before = ticks();
    thread::sleep(WATCHED);
    let own = std::process::id();
    let shares = ticks().into_iter().filter_map(|(process, (name, after))| {
        let (_, before) = before.get(&process)?;
        let share = after.saturating_sub(*before) as f64 / TICKS / WATCHED.as_secs_f64();
        (process != own && share > BUSY).then_some((name, share))
    });
    let mut shares: Vec<(String, f64)> = shares.collect();
    shares.sort_by(|a, b| b.1.total_cmp(&a.1));
    let named = shares.iter().take(NAMED);
    let named = named.map(|(name, share)| format!("{name} ({:.0} % of a CPU)", share * 100.0));
    told_or(named.collect::<Vec<_>>().join(", "), "none")
}

/// Name and CPU time of each process, in ticks (proc_pid_stat(5)).
fn ticks() -> HashMap<u32, (String, u64)> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return HashMap::new();
    };
    let processes = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let told = |process: u32| {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        // The name may hold anything but is the last thing in parentheses.
        let (name, rest) = stat.split_once('(')?.1.rsplit_once(") ")?;
        let mut times = rest
            .split(' ')
            .skip(11)
            .map_while(|time| time.parse::<u64>().ok());
        Some((process, (name.to_owned(), times.next()? + times.next()?)))
    };
    processes.filter_map(told).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_everything() {
        let place = Machine::here();
        assert!(!place.kernel.is_empty() && !place.cpu.is_empty() && place.cpus > 0);
        assert!(place.date.starts_with("20") && place.date.ends_with('Z'));
    }

    #[test]
    fn surroundings_are_told_on_any_machine() {
        let surroundings = Surroundings::here();
        for (name, value) in &surroundings.settings {
            assert!(!value.is_empty(), "{name}");
        }
        let told = |wanted: &str| {
            let mut settings = surroundings.settings.iter();
            settings.find(|(name, _)| name == wanted).unwrap().1.clone()
        };
        assert!(told("net.core.rmem_max").parse::<u64>().is_ok());
        assert!(told("memory").contains("MiB"));
    }

    #[test]
    fn cpu_time_is_read_of_any_process() {
        let (name, _) = &ticks()[&std::process::id()];
        assert!(!name.is_empty());
    }
}
