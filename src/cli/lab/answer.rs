//! `shardns lab answer`: has the sockets of experiments here whose source is on
//! another host.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::{Duration, Instant};

use crate::lab::remote::{self, EXPERIMENTS, Token};
use crate::sys::limits::raise_open_files;

/// The arguments of `shardns lab answer`.
#[derive(Debug, clap::Args)]
pub struct Answer {
    /// The address that sockets are to have, and the port that the source comes to;
    /// the kernel chooses the port where there is none
    #[arg(long, value_name = "ADDR[:PORT]")]
    listen: Place,
    /// End after so long, such as 10m
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
    /// What the source is to know: 32 hexadecimal digits; a new one if none is given
    #[arg(
        long,
        value_name = "TOKEN",
        env = "SHARDNS_LAB_TOKEN",
        hide_env_values = true
    )]
    token: Option<Token>,
}

/// An address that may leave the port open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place(SocketAddr);

impl FromStr for Place {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<Place, Self::Err> {
        let with_port = text.parse().map(Place);
        with_port.or_else(|_| Ok(Place(SocketAddr::new(text.parse::<IpAddr>()?, 0))))
    }
}

impl Answer {
    /// Waits for sources until it is told to end.
    ///
    /// # Errors
    ///
    /// An address that is not to be had.
    pub fn run(self) -> anyhow::Result<()> {
        raise_open_files();
        let stop = super::stop_on_signals()?;
        let token = self.token.map_or_else(Token::random, Ok)?;
        let mut answer = remote::Answer::bind(self.listen.0, token)?;
        let end = self.duration.map(|duration| Instant::now() + duration);
        let address = answer.address()?;
        super::say(&format!(
            "listening on {address}, for a trusted network only; on the other host:\n\n  \
                SHARDNS_LAB_TOKEN={token} shardns lab {} --to {}\n\n\
                and likewise {}",
            EXPERIMENTS[0],
            reached_at(address),
            EXPERIMENTS[1..].join(", ")
        ))?;
        answer.run(&stop, end, &|words| {
            // Where nobody reads any more, it goes on.
            let _ = super::say(words);
        })
    }
}

/// What the other host is to say; to all addresses, nothing can be sent.
fn reached_at(address: SocketAddr) -> String {
    match address.ip().is_unspecified() {
        true => format!("ADDR:{} (ADDR is one of this host)", address.port()),
        false => address.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_to_all_addresses() {
        for (address, told) in [
            ("192.0.2.1:53", "192.0.2.1:53"),
            ("0.0.0.0:53", "ADDR:53 (ADDR is one of this host)"),
            ("[::]:53", "ADDR:53 (ADDR is one of this host)"),
        ] {
            assert_eq!(reached_at(address.parse().unwrap()), told);
        }
    }

    #[test]
    fn the_port_may_be_left_out() {
        for (text, address) in [
            ("192.0.2.1", "192.0.2.1:0"),
            ("192.0.2.1:53", "192.0.2.1:53"),
            ("2001:db8::1", "[2001:db8::1]:0"),
            ("[2001:db8::1]:53", "[2001:db8::1]:53"),
        ] {
            assert_eq!(text.parse(), Ok(Place(address.parse().unwrap())), "{text}");
        }
        assert!("there".parse::<Place>().is_err());
    }
}
