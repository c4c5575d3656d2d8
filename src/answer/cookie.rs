//! DNS cookies (RFC 7873), made and known as by every server that shares the
//! secret (RFC 9018). A server cookie shows that its client has had a reply at
//! the address that it asks from; nothing is kept here to know it again.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher24;

use super::edns::{self, Edns};
use super::terms::{Request, Settings};

/// Octets of a secret.
pub const SECRET: usize = 16;
/// Octets of a client cookie.
pub const CLIENT: usize = 8;
/// Octets of what a COOKIE option in a reply holds: the client's, then ours.
pub const BOTH: usize = CLIENT + SERVER;
/// Octets of our server cookies: version, three reserved, time, hash.
const SERVER: usize = 16;
/// Octets that other servers' cookies may have (RFC 7873 §4).
const ANY_SERVER: std::ops::RangeInclusive<usize> = 8..=32;
/// The only version (RFC 9018 §4.1).
const VERSION: u8 = 1;
/// Seconds for which a server cookie is good, and that it may be ahead of the
/// clock here where another server made it (RFC 9018 §4.3).
const MAX_AGE: i32 = 3600;
const MAX_AHEAD: i32 = 300;

/// What server cookies are made with. They are written to who serves in this server's
/// place, and to nobody else.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secrets {
    /// Makes all new ones.
    pub current: [u8; SECRET],
    /// Its cookies are still taken, for a roll-over (RFC 9018 §5).
    pub previous: Option<[u8; SECRET]>,
}

/// What a request brought of cookies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cookie {
    /// None, or none that this server looks at.
    #[default]
    None,
    /// A client's alone: its first request, as far as it knows.
    ClientOnly,
    /// A server cookie that was made for this client within the hour.
    Valid,
    /// A server cookie that is too old, another client's, or another server's.
    Invalid,
}

/// Secrets are not shown.
impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets")
    }
}

/// Data of a COOKIE option that has a length which it cannot have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl Secrets {
    /// Judges the data of a COOKIE option that came from `client`; `now` is the
    /// time since 1970.
    ///
    /// # Errors
    ///
    /// Data of a length which it cannot have (RFC 7873 §5.2.2).
    pub fn judge(&self, data: &[u8], client: IpAddr, now: Duration) -> Result<Cookie, Malformed> {
        let (own, server) = data.split_first_chunk::<CLIENT>().ok_or(Malformed)?;
        match server.len() {
            0 => Ok(Cookie::ClientOnly),
            SERVER => Ok(match self.made(own, server, client, now) {
                true => Cookie::Valid,
                false => Cookie::Invalid,
            }),
            other if ANY_SERVER.contains(&other) => Ok(Cookie::Invalid),
            _ => Err(Malformed),
        }
    }

    /// The data of the COOKIE option in a reply: a new server cookie each time,
    /// so that a client that goes on asking always has a fresh one.
    pub fn make(&self, own: &[u8; CLIENT], client: IpAddr, now: Duration) -> [u8; BOTH] {
        let mut both = [0; BOTH];
        both[..CLIENT].copy_from_slice(own);
        both[CLIENT] = VERSION;
        both[12..16].copy_from_slice(&seconds(now).to_be_bytes());
        let head = both.first_chunk().expect("both are longer");
        let hash = hash(&self.current, head, client);
        both[16..].copy_from_slice(&hash.to_le_bytes());
        both
    }

    /// True where a server that knows one of the secrets made the cookie for the
    /// client, not too long ago.
    fn made(&self, own: &[u8; CLIENT], server: &[u8], client: IpAddr, now: Duration) -> bool {
        let (head, hashed) = server.split_at(8);
        let mut whole = [0; 16];
        whole[..CLIENT].copy_from_slice(own);
        whole[CLIENT..].copy_from_slice(head);
        let [version, _, _, _, stamp @ ..] = *whole.last_chunk::<8>().expect("it has 16");
        // Serial number arithmetic (RFC 1982), for the year 2106.
        let age = seconds(now).wrapping_sub(u32::from_be_bytes(stamp)) as i32;
        if version != VERSION || !(-MAX_AHEAD..=MAX_AGE).contains(&age) {
            return false;
        }
        // What is reserved counts as it came (RFC 9018 §4.2).
        let made_with = |secret| hash(secret, &whole, client).to_le_bytes()[..] == *hashed;
        made_with(&self.current) || self.previous.as_ref().is_some_and(made_with)
    }
}

/// What a request's cookie is, and the data of the option that answers it.
pub(super) fn read(
    edns: Edns,
    request: &Request<'_>,
    settings: &Settings,
) -> Result<Option<(Cookie, [u8; BOTH])>, Malformed> {
    let Some(secrets) = settings.cookies.as_ref().filter(|_| edns.has_cookie()) else {
        return Ok(None);
    };
    let (data, client) = (edns::cookie(request.octets), request.peer.ip());
    let data = data.unwrap_or_default();
    let cookie = secrets.judge(data, client, request.now)?;
    let own = data.first_chunk().ok_or(Malformed)?;
    Ok(Some((cookie, secrets.make(own, client, request.now))))
}

/// The hash of RFC 9018 §4.4 over client cookie, version, reserved octets, time
/// and address.
fn hash(secret: &[u8; SECRET], head: &[u8; 16], client: IpAddr) -> u64 {
    let mut octets = [0; 32];
    octets[..16].copy_from_slice(head);
    let length = match client {
        IpAddr::V4(address) => {
            octets[16..20].copy_from_slice(&address.octets());
            20
        }
        IpAddr::V6(address) => {
            octets[16..].copy_from_slice(&address.octets());
            32
        }
    };
    SipHasher24::new_with_key(secret).hash(&octets[..length])
}

fn seconds(now: Duration) -> u32 {
    now.as_secs() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex<const N: usize>(text: &str) -> [u8; N] {
        let octets = data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap();
        octets.try_into().unwrap()
    }

    fn secrets(current: &str, previous: Option<&str>) -> Secrets {
        Secrets {
            current: hex(current),
            previous: previous.map(hex),
        }
    }

    const SECRET: &str = "e5e973e5a6b2a43f48e7dc849e37bfcf";

    /// One example of RFC 9018, Appendix A: what comes at a time and what it is,
    /// and what goes back at another.
    fn example(
        secrets: &Secrets,
        client: &str,
        sent: &[u8],
        (judged, is): (u64, Cookie),
        (answered, reply): (u64, &str),
    ) {
        let client: IpAddr = client.parse().unwrap();
        let judged = secrets.judge(sent, client, Duration::from_secs(judged));
        assert_eq!(judged, Ok(is));
        let own = sent.first_chunk().unwrap();
        let made = secrets.make(own, client, Duration::from_secs(answered));
        assert_eq!(made, hex(reply));
    }

    /// RFC 9018 §A.1.
    #[test]
    fn learning_a_new_server_cookie() {
        let made = "2464c4abcf10c957010000005cf79f111f8130c3eee29480";
        let now = 1559731985;
        let sent = hex::<8>("2464c4abcf10c957");
        let answer = (now, made);
        let judged = (now, Cookie::ClientOnly);
        example(
            &secrets(SECRET, None),
            "198.51.100.100",
            &sent,
            judged,
            answer,
        );
    }

    /// RFC 9018 §A.2.
    #[test]
    fn the_same_client_learning_a_renewed_server_cookie() {
        let sent = hex::<24>("2464c4abcf10c957010000005cf79f111f8130c3eee29480");
        let now = 1559734385;
        let answer = (now, "2464c4abcf10c957010000005cf7a871d4a564a1442aca77");
        let judged = (now, Cookie::Valid);
        example(
            &secrets(SECRET, None),
            "198.51.100.100",
            &sent,
            judged,
            answer,
        );
    }

    /// RFC 9018 §A.3: reserved octets that are not zero. In the example the cookie
    /// is older than the hour of §4.3 when it comes; that its hash is right shows
    /// within that hour.
    #[test]
    fn another_client_learning_a_renewed_server_cookie() {
        let sent = hex::<24>("fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5");
        let (made, now) = (1559727985, 1559734700);
        let answer = (now, "fc93fc62807ddb86010000005cf7a9acf73a7810aca2381e");
        let known = secrets(SECRET, None);
        let within_the_hour = (made + 3600, Cookie::Valid);
        example(&known, "203.0.113.203", &sent, within_the_hour, answer);
        let after_it = (now, Cookie::Invalid);
        example(&known, "203.0.113.203", &sent, after_it, answer);
    }

    /// RFC 9018 §A.4.
    #[test]
    fn an_ipv6_query_with_rolled_over_secret() {
        let sent = hex::<24>("22681ab97d52c298010000005cf7c57926556bd0934c72f8");
        let (new, old) = (
            "445536bcd2513298075a5d379663c962",
            "dd3bdf9344b678b185a6f5cb60fca715",
        );
        let now = 1559741961;
        let client = "2001:db8:220:1:59de:d0f4:8769:82b8";
        let answer = (now, "22681ab97d52c298010000005cf7c609a6bb79d16625507a");
        let known = secrets(new, Some(old));
        example(&known, client, &sent, (now, Cookie::Valid), answer);
        let without = secrets(new, None);
        example(&without, client, &sent, (now, Cookie::Invalid), answer);
    }

    #[test]
    fn a_server_cookie_is_good_for_its_client_and_its_time() {
        let known = secrets(SECRET, None);
        let (own, client) = ([7; 8], "192.0.2.1".parse().unwrap());
        let made_at = 1_000_000;
        let made = known.make(&own, client, Duration::from_secs(made_at));
        let judge = |data: &[u8], client: &str, now| {
            let client = client.parse().unwrap();
            known.judge(data, client, Duration::from_secs(now)).unwrap()
        };
        for (now, is) in [
            (made_at - 301, Cookie::Invalid),
            (made_at - 300, Cookie::Valid),
            (made_at + 3600, Cookie::Valid),
            (made_at + 3601, Cookie::Invalid),
        ] {
            assert_eq!(judge(&made, "192.0.2.1", now), is, "{now}");
        }
        assert_eq!(judge(&made, "192.0.2.2", made_at), Cookie::Invalid);
        for octet in 0..BOTH {
            let mut other = made;
            other[octet] ^= 1;
            assert_eq!(judge(&other, "192.0.2.1", made_at), Cookie::Invalid);
        }
    }

    #[test]
    fn the_clock_of_cookies_goes_round() {
        let known = secrets(SECRET, None);
        let (own, client) = ([7; 8], "::1".parse().unwrap());
        let last = Duration::from_secs(u32::MAX.into());
        let made = known.make(&own, client, last);
        let later = known.judge(&made, client, last + Duration::from_secs(60));
        assert_eq!(later, Ok(Cookie::Valid));
    }

    #[test]
    fn lengths_that_a_cookie_can_have() {
        let known = secrets(SECRET, None);
        for length in 0..=50 {
            let judged = known.judge(&vec![1; length], "::1".parse().unwrap(), Duration::ZERO);
            let expected = match length {
                8 => Ok(Cookie::ClientOnly),
                16..=40 => Ok(Cookie::Invalid),
                _ => Err(Malformed),
            };
            assert_eq!(judged, expected, "{length} octets");
        }
    }
}
