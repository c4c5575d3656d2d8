//! The network card that an experiment's datagrams pass at one end: how it shares what
//! it receives out over CPUs, read back from the kernel, and beside each setting the
//! command that changes it. Nothing is changed here.

mod queues;

use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::veth::mask;
use crate::server::placement::{allowed_cpus, show_list};
use crate::sys::lab::route::{self, Interface};
use queues::Queues;

/// What is set, or why that is not known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reading {
    /// As it is.
    Is(String),
    /// Not told, for this reason.
    Unknown(String),
    /// The interface has no such thing.
    Absent(String),
}

/// A setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// Its name.
    pub name: String,
    /// How it is.
    #[serde(flatten)]
    pub reading: Reading,
    /// What it is good for, and how it is set, where it can be.
    pub to_set: Option<String>,
}

/// The card at one end, with its settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// The interface that the route to the other end takes; empty where there is none.
    pub interface: String,
    /// Its driver.
    pub driver: Reading,
    /// Its settings, and those of the system that go with them.
    pub settings: Vec<Setting>,
}

/// Settings of the kernel that go with a card's: their names under `net.core`, what
/// they may be set to, and why.
const SYSTEM: [(&str, u64, &str); 4] = [
    (
        "busy_poll",
        50,
        "µs to look for datagrams before sleeping in epoll",
    ),
    (
        "busy_read",
        50,
        "µs to look for datagrams before sleeping in a receive",
    ),
    (
        "rmem_max",
        8_388_608,
        "octets that a socket's queue may be given",
    ),
    (
        "netdev_max_backlog",
        4096,
        "datagrams that wait for a CPU where RPS is on",
    ),
];

impl Card {
    /// The card on the way to a peer.
    pub fn towards(peer: SocketAddr) -> Card {
        match route::towards(peer) {
            Ok(interface) => Card::of(&interface, peer.is_ipv6()),
            Err(error) => Card {
                interface: String::new(),
                driver: Reading::Unknown(format!("no route to {}: {error}", peer.ip())),
                settings: system(),
            },
        }
    }

    fn of(interface: &Interface, ipv6: bool) -> Card {
        let queues = Queues::of(interface, ipv6);
        let mut settings = of_queues(&interface.name, &queues, ipv6);
        settings.extend(system());
        Card {
            interface: interface.name.clone(),
            driver: queues.driver(),
            settings,
        }
    }

    /// For people: what is set, and below each what to set.
    pub fn show(&self, end: &str) -> String {
        let mut text = format!("{end}: {}, driver {}", self.interface, self.driver);
        for setting in &self.settings {
            let Setting {
                name,
                reading,
                to_set,
            } = setting;
            text += &format!("\n  {name:<27} {reading}");
            if let Some(to_set) = to_set {
                text += &format!("\n    {to_set}");
            }
        }
        text
    }
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reading::Is(value) => f.write_str(value),
            Reading::Unknown(why) => write!(f, "not known: {why}"),
            Reading::Absent(why) => write!(f, "none: {why}"),
        }
    }
}

fn of_queues(name: &str, queues: &Queues, ipv6: bool) -> Vec<Setting> {
    let cpus = allowed_cpus();
    let flow = if ipv6 { "udp6" } else { "udp4" };
    let channels = queues.channels();
    // As many as there are CPUs, or as there can be.
    let most = channels.map_or(usize::MAX, |channels| channels.most as usize);
    let count = most.clamp(1, cpus.len());
    // Nor can they be set where the driver tells of none.
    let has_all = channels.is_none_or(|channels| channels.receiving as usize == count);
    let command = channels.map_or_else(String::new, |channels| channels.command(name, count));
    let setting = |what: &str, reading: Reading, to_set: String| Setting {
        name: what.into(),
        to_set: (!matches!(reading, Reading::Absent(_))).then_some(to_set),
        reading,
    };
    let mut settings = vec![
        setting(
            "receive queues",
            queues.count(),
            format!("one a CPU: {command}"),
        ),
        setting(
            "flows to queues",
            queues.indirection(),
            format!("evenly: ethtool -X {name} equal {count}"),
        ),
        setting(
            &format!("hash of {flow}"),
            queues.hash_fields(),
            format!("addresses and ports: ethtool -N {name} rx-flow-hash {flow} sdfn"),
        ),
        setting(
            "interrupts",
            queues.interrupts(),
            format!(
                "a queue a CPU, without irqbalance: echo CPU > /proc/irq/N/smp_affinity_list \
                    (CPUs {})",
                show_list(&cpus)
            ),
        ),
        setting(
            "RPS",
            queues.packet_steering(),
            format!(
                "off with a queue a CPU; else: echo {} > \
                    /sys/class/net/{name}/queues/rx-0/rps_cpus",
                mask(&cpus)
            ),
        ),
    ];
    if has_all {
        settings[0].to_set = None;
    }
    settings
}

fn system() -> Vec<Setting> {
    let setting = |(name, value, purpose): (&str, u64, &str)| Setting {
        name: format!("net.core.{name}"),
        reading: read(&Path::new("/proc/sys/net/core").join(name)),
        to_set: Some(format!("{purpose}: sysctl -w net.core.{name}={value}")),
    };
    SYSTEM.map(setting).into()
}

/// A file of one value.
fn read(path: &Path) -> Reading {
    match fs::read_to_string(path) {
        Ok(text) => Reading::Is(text.trim().to_owned()),
        Err(error) => not_told(&error),
    }
}

/// Why the kernel does not tell.
fn not_told(error: &io::Error) -> Reading {
    match error.kind() {
        io::ErrorKind::NotFound => {
            Reading::Unknown("not in this network namespace, or not in this kernel".into())
        }
        io::ErrorKind::PermissionDenied => Reading::Unknown("only root may read it".into()),
        io::ErrorKind::Unsupported => Reading::Absent("this driver has no such thing".into()),
        _ => Reading::Unknown(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_tells_what_it_has() {
        let card = Card::towards("127.0.0.1:53".parse().unwrap());
        assert_eq!(card.interface, "lo");
        let reading = |name: &str| {
            let found = card.settings.iter().find(|setting| setting.name == name);
            found.unwrap().reading.clone()
        };
        assert!(matches!(reading("hash of udp4"), Reading::Absent(_)));
        assert!(!matches!(reading("interrupts"), Reading::Is(_)));
        // It has one queue, which is not seen where /sys is of another namespace.
        let queues = reading("receive queues");
        assert!(
            queues == Reading::Is("1".into()) || matches!(queues, Reading::Unknown(_)),
            "{queues}"
        );
        // What it cannot have is not to be set.
        let told = card.show("here");
        assert!(told.starts_with("here: lo, driver none"), "{told}");
        assert!(!told.contains("ethtool"), "{told}");
        assert!(
            told.contains("> /sys/class/net/lo/queues/rx-0/rps_cpus"),
            "{told}"
        );
        let json = serde_json::to_string(&card).unwrap();
        assert_eq!(serde_json::from_str::<Card>(&json).unwrap(), card);
    }

    #[test]
    fn nowhere_to_go_is_told() {
        // Class E is routed nowhere.
        let card = Card::towards("240.0.0.1:53".parse().unwrap());
        if card.interface.is_empty() {
            assert!(card.show("here").contains("no route to 240.0.0.1"));
        }
    }
}
