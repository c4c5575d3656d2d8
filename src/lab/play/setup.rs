//! What is set up at the bench: how many sockets, client ports and datagrams, and
//! who chooses the socket. It is written as it stands in the page's address.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::sys::steer::Steer;

/// Sockets of the group: more lanes than a page shows.
pub const MAX_SOCKETS: usize = 64;
/// Client ports, each of which is a file.
pub const MAX_FLOWS: usize = 4096;
/// Datagrams a second: more than one thread sends.
pub const MAX_RATE: u32 = 100_000;

/// The policies of `--steer`, by name.
pub const POLICIES: [(&str, Option<Steer>); 4] = [
    ("hash", None),
    ("query-id", Some(Steer::QueryId)),
    ("cpu", Some(Steer::Cpu)),
    ("random", Some(Steer::Random)),
];

/// A bench as it is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Setup {
    /// Sockets of the group.
    pub sockets: usize,
    /// Client ports, each of them a flow.
    pub flows: usize,
    /// Datagrams a second, of all flows together.
    pub rate: u32,
    /// Which of `POLICIES`.
    #[serde(serialize_with = "by_name")]
    pub policy: usize,
    /// A second process on the port.
    pub process: bool,
    /// The Python program on the port.
    pub python: bool,
}

fn by_name<S: serde::Serializer>(policy: &usize, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(POLICIES[*policy].0)
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            sockets: 8,
            flows: 256,
            rate: 2000,
            policy: 0,
            process: false,
            python: false,
        }
    }
}

/// What is not to be had, in a sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// A number that is none, or not among those that are allowed.
    #[error("{name} is to be a number from {least} to {most}")]
    Number {
        /// Of what.
        name: &'static str,
        /// The least that is allowed.
        least: usize,
        /// The most.
        most: usize,
    },
    /// No such policy.
    #[error("steer is to be hash, query-id, cpu or random")]
    Policy,
    /// A word that names nothing here.
    #[error("`{0}` is nothing that can be set up")]
    Name(String),
}

impl Setup {
    /// The policy's name.
    pub fn policy_name(&self) -> &'static str {
        POLICIES[self.policy].0
    }

    /// What chooses the socket, where it is not the kernel's hash.
    pub fn steer(&self) -> Option<Steer> {
        POLICIES[self.policy].1
    }
}

impl FromStr for Setup {
    type Err = SetupError;

    /// Reads `sockets=8&flows=256&rate=2000&steer=hash`; what is not named is as
    /// usual.
    fn from_str(text: &str) -> Result<Setup, SetupError> {
        let mut setup = Setup::default();
        for part in text.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            match name {
                "sockets" => setup.sockets = number("sockets", value, 1, MAX_SOCKETS)?,
                "flows" => setup.flows = number("flows", value, 1, MAX_FLOWS)?,
                "rate" => setup.rate = number("rate", value, 0, MAX_RATE as usize)? as u32,
                "process" => setup.process = number("process", value, 0, 1)? == 1,
                "python" => setup.python = number("python", value, 0, 1)? == 1,
                "steer" => {
                    let is_it = |(name, _): &(&str, _)| *name == value;
                    let policy = POLICIES.iter().position(is_it);
                    setup.policy = policy.ok_or(SetupError::Policy)?;
                }
                _ => return Err(SetupError::Name(name.into())),
            }
        }
        Ok(setup)
    }
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Setup {
            sockets,
            flows,
            rate,
            ..
        } = self;
        let steer = self.policy_name();
        write!(
            f,
            "sockets={sockets}&flows={flows}&rate={rate}&steer={steer}"
        )?;
        for (guest, name) in [(self.process, "process"), (self.python, "python")] {
            if guest {
                write!(f, "&{name}=1")?;
            }
        }
        Ok(())
    }
}

fn number(name: &'static str, value: &str, least: usize, most: usize) -> Result<usize, SetupError> {
    let number = value.parse().ok();
    let number = number.filter(|number| (least..=most).contains(number));
    number.ok_or(SetupError::Number { name, least, most })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let setup: Setup = "sockets=64&flows=4096&rate=0&steer=query-id"
            .parse()
            .unwrap();
        assert_eq!(setup.to_string().parse(), Ok(setup));
        assert_eq!(setup.steer(), Some(Steer::QueryId));
        assert_eq!("".parse(), Ok(Setup::default()));
        let text = "sockets=2&flows=3&rate=4&steer=hash&process=1&python=1";
        let guests: Setup = text.parse().unwrap();
        assert!(guests.process && guests.python);
        assert_eq!(guests.to_string(), text);
    }

    #[test]
    fn nothing_is_past_its_limit() {
        for wrong in [
            "sockets=0",
            "sockets=65",
            "flows=0",
            "flows=4097",
            "rate=100001",
            "rate=-1",
            "rate",
            "steer=",
            "steer=rss",
            "process=2",
            "colour=red",
        ] {
            assert!(wrong.parse::<Setup>().is_err(), "{wrong}");
        }
        let most: Setup = "rate=100000".parse().unwrap();
        assert_eq!(most.rate, MAX_RATE);
    }
}
