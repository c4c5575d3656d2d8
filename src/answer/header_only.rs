//! Replies of a header and little more, for requests whose rest means nothing, or
//! is nothing but a cookie.

use super::cookie::{self, Cookie, Malformed};
use super::edns::{Edns, OPT, ReplyOptions};
use super::query::Header;
use super::terms::{Notes, Outcome, Request, Settings, Source};
use crate::wire::Rcode;
use crate::wire::header::{HEADER, flag};

/// A reply of a header, and an OPT record where there was one, for requests
/// whose rest means nothing.
#[cold]
pub fn reply(
    header: Header,
    rcode: Rcode,
    edns: Option<Edns>,
    request: &Request<'_>,
    settings: &Settings,
    out: &mut [u8],
) -> Outcome {
    // Those of another version may be laid out as they like.
    let known = edns.filter(|edns| edns.version == 0);
    let known = known.map(|edns| edns.over(request.via));
    let asks = known.is_some_and(Edns::asks_for_keepalive);
    let is_bad = known.is_some_and(Edns::has_bad_keepalive);
    let cookies = known.map_or(Ok(None), |edns| cookie::read(edns, request, settings));
    let rcode = match (rcode, &cookies) {
        (Rcode::BadCookie, _) if is_bad => Rcode::FormErr,
        (Rcode::BadCookie, Ok(Some((cookie, _)))) => cookie_alone(*cookie),
        (Rcode::BadCookie, Ok(None) | Err(Malformed)) => Rcode::FormErr,
        (rcode, _) => rcode,
    };
    let cookies = cookies.unwrap_or_default();
    let mut length = HEADER;
    if let Some(edns) = edns {
        let options = ReplyOptions {
            cookie: cookies.as_ref().map(|(_, ours)| ours),
            keepalive: settings.keepalive().filter(|_| asks),
            nsid: None,
            error: None,
        };
        let opt = edns.reply(rcode, settings.edns_size, options.octets() as u16);
        out[HEADER..][..OPT].copy_from_slice(&opt);
        options.write(&mut out[HEADER + OPT..]);
        length += OPT + options.octets();
    }
    let flags = flag::QR | header.flags & (flag::OPCODE | flag::RD) | rcode.low();
    write_header(out, [header.id, flags, 0, 0, 0, u16::from(edns.is_some())]);
    Outcome::Replied {
        length,
        rcode,
        notes: Notes::new(flags & !rcode.low())
            .with_cookie(cookies.map_or(Cookie::None, |(cookie, _)| cookie))
            .with_source(Source::Server),
    }
}

/// What to say to a cookie without a question (RFC 7873 §5.4).
fn cookie_alone(cookie: Cookie) -> Rcode {
    match cookie {
        Cookie::Invalid => Rcode::BadCookie,
        Cookie::None | Cookie::ClientOnly | Cookie::Valid => Rcode::NoError,
    }
}

fn write_header(out: &mut [u8], words: [u16; 6]) {
    let mut octets = [0; HEADER];
    for (place, word) in octets.as_chunks_mut().0.iter_mut().zip(words) {
        *place = word.to_be_bytes();
    }
    out[..HEADER].copy_from_slice(&octets);
}
