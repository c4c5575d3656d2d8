//! The options under "Limits": response rate limiting and DNS cookies.

use std::path::{Path, PathBuf};

use clap::value_parser;

use crate::answer::Secrets;
use crate::daemon::cookie_secrets::{self, CookieSecretsError};
use crate::server::rate_limit::{self, MAX_ENTRIES, MAX_LIMIT, Options, Prefix};

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitOptions {
    /// Replies a second over UDP that a client's network gets of the same
    /// name, of the errors and referrals of a zone, or of other errors; all workers
    /// together. Without it there is no limit
    #[arg(
        long,
        value_name = "N",
        value_parser = value_parser!(u32).range(1..=i64::from(MAX_LIMIT))
    )]
    rate_limit: Option<u32>,
    /// Of the replies over the limit, every Nth says "come by TCP" instead of
    /// being dropped: 0 none, 1 all
    #[arg(
        long,
        value_name = "N",
        requires = "rate_limit",
        default_value_t = 2,
        value_parser = value_parser!(u8).range(0..=100)
    )]
    rate_limit_slip: u8,
    /// Clients that are not limited, as 192.0.2.0/24; repeatable
    #[arg(long, value_name = "PREFIX", requires = "rate_limit")]
    rate_limit_exempt: Vec<Prefix>,
    /// Bits of an IPv4 address that make a client's network
    #[arg(
        long,
        value_name = "BITS",
        requires = "rate_limit",
        default_value_t = 24,
        value_parser = value_parser!(u8).range(1..=32)
    )]
    rate_limit_ipv4_prefix: u8,
    /// Bits of an IPv6 address that make a client's network
    #[arg(
        long,
        value_name = "BITS",
        requires = "rate_limit",
        default_value_t = 56,
        value_parser = value_parser!(u8).range(1..=128)
    )]
    rate_limit_ipv6_prefix: u8,
    /// Networks and names that each worker counts for at once, 16 octets each;
    /// a power of two
    #[arg(
        long,
        value_name = "N",
        requires = "rate_limit",
        default_value_t = rate_limit::ENTRIES,
        value_parser = parse_entries
    )]
    rate_limit_entries: usize,
    /// A file with the secret that DNS cookies are made with, 32 hexadecimal
    /// digits, and in the next line perhaps the one before it, for servers that
    /// share an address [default: made at random, or that of the server taken over from]
    #[arg(long, value_name = "FILE", conflicts_with = "no_cookies")]
    cookie_secret: Option<PathBuf>,
    /// Take no notice of DNS cookies
    #[arg(long)]
    no_cookies: bool,
}

impl LimitOptions {
    /// How replies are limited, if they are.
    pub fn rate_limit(&self) -> Option<Options> {
        self.rate_limit.map(|limit| Options {
            limit,
            slip: self.rate_limit_slip,
            ipv4_prefix: self.rate_limit_ipv4_prefix,
            ipv6_prefix: self.rate_limit_ipv6_prefix,
            exempt: self.rate_limit_exempt.clone(),
            entries: self.rate_limit_entries,
        })
    }

    /// The file with the secret of cookies.
    pub fn cookie_secret(&self) -> Option<&Path> {
        self.cookie_secret.as_deref()
    }

    /// True where secrets are wanted, and none is named.
    pub fn takes_any_cookie_secrets(&self) -> bool {
        !self.no_cookies && self.cookie_secret.is_none()
    }

    /// The secrets of cookies, read anew where they are in a file and `known`
    /// otherwise, if those are known.
    ///
    /// # Errors
    ///
    /// What is wrong with the file.
    pub fn cookies(&self, known: Option<&Secrets>) -> Result<Option<Secrets>, CookieSecretsError> {
        if self.no_cookies {
            return Ok(None);
        }
        match (&self.cookie_secret, known) {
            (Some(path), _) => cookie_secrets::read(path).map(Some),
            (None, Some(known)) => Ok(Some(known.clone())),
            (None, None) => cookie_secrets::random().map(Some),
        }
    }
}

fn parse_entries(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(entries) if entries.is_power_of_two() && (1024..=MAX_ENTRIES).contains(&entries) => {
            Ok(entries)
        }
        _ => Err(format!("write a power of two from 1024 to {MAX_ENTRIES}")),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        limits: LimitOptions,
    }

    fn parse(line: &str) -> Result<LimitOptions, clap::Error> {
        let words = std::iter::once("shardns").chain(line.split_whitespace());
        Program::try_parse_from(words).map(|program| program.limits)
    }

    #[test]
    fn options_make_a_limit() {
        assert_eq!(parse("").unwrap().rate_limit(), None);
        let plain = parse("--rate-limit 200").unwrap().rate_limit();
        assert_eq!(plain, Some(Options::default()));
        let line = "--rate-limit 5 --rate-limit-slip 0 --rate-limit-exempt 192.0.2.0/24 \
            --rate-limit-exempt ::1 --rate-limit-ipv4-prefix 32 --rate-limit-ipv6-prefix 64 \
            --rate-limit-entries 1024";
        let exempt = ["192.0.2.0/24", "::1"].map(|prefix| prefix.parse().unwrap());
        let expected = Options {
            limit: 5,
            slip: 0,
            ipv4_prefix: 32,
            ipv6_prefix: 64,
            exempt: exempt.into(),
            entries: 1024,
        };
        assert_eq!(parse(line).unwrap().rate_limit(), Some(expected));
    }

    #[test]
    fn what_means_nothing_is_an_error() {
        for line in [
            "--rate-limit 0",
            "--rate-limit 1048576",
            "--rate-limit-slip 3",
            "--rate-limit 1 --rate-limit-entries 1000",
            "--rate-limit 1 --rate-limit-exempt example.com",
            "--rate-limit 1 --rate-limit-ipv4-prefix 33",
            "--no-cookies --cookie-secret file",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_secret_made_at_random_stays_and_one_of_a_file_is_read_again() {
        let none = parse("--no-cookies").unwrap();
        assert_eq!(none.cookies(None).unwrap(), None);
        let random = parse("").unwrap();
        assert!(random.takes_any_cookie_secrets() && !none.takes_any_cookie_secrets());
        let first = random.cookies(None).unwrap();
        assert_eq!(random.cookies(first.as_ref()).unwrap(), first);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let from_file = parse(&format!("--cookie-secret {}", path.display())).unwrap();
        assert!(from_file.cookies(first.as_ref()).is_err());
        assert!(!from_file.takes_any_cookie_secrets());
        std::fs::write(&path, "00112233445566778899aabbccddeeff\n").unwrap();
        let read = from_file.cookies(first.as_ref()).unwrap().unwrap();
        assert_eq!(read.current[15], 0xff);
    }
}
