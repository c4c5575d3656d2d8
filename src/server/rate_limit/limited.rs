//! An answer under a limit: made, judged, and withheld where its client asks too
//! often.

use super::{About, Limiter, Verdict};
use crate::answer::{Cookie, Outcome, Prepared, Request, Settings};
use crate::wire::LookupName;

/// Replies of a batch that the rate limit kept back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Withheld {
    /// Sent in no form.
    pub dropped: u64,
    /// Sent without records, and with TC where they have a question.
    pub slipped: u64,
}

/// Answers a request, under a limit or without one; `None` where nothing is to be
/// sent because its client asks too often.
#[inline(always)]
pub fn answer(
    limiter: Option<&Limiter>,
    prepared: Prepared<'_>,
    settings: &Settings,
    request: &Request<'_>,
    name: &mut LookupName,
    out: &mut [u8],
    withheld: &mut Withheld,
) -> Option<Outcome> {
    match limiter {
        None => Some(prepared.finish(settings, request, name, out)),
        Some(limiter) => limited(limiter, prepared, settings, request, name, out, withheld),
    }
}

/// The same under a limit. A cookie that is good shows that the client asks in its own name,
/// and is never refused; one that is not is told to come again with a new one.
#[inline(never)]
fn limited(
    limiter: &Limiter,
    prepared: Prepared<'_>,
    settings: &Settings,
    request: &Request<'_>,
    name: &mut LookupName,
    out: &mut [u8],
    withheld: &mut Withheld,
) -> Option<Outcome> {
    // Aliases leave another name there.
    let asked = name.hash_of(0);
    let outcome = prepared.finish(settings, request, name, out);
    let Outcome::Replied { notes, .. } = outcome else {
        return Some(outcome);
    };
    let cookie = notes.cookie();
    if cookie == Cookie::Valid {
        return Some(outcome);
    }
    let about = About {
        source: notes.source(),
        name: asked,
        zone: prepared.zone(),
        request: request.octets,
    };
    match limiter.judge(request.peer.ip(), about, request.now) {
        Verdict::Pass => return Some(outcome),
        _ if cookie != Cookie::None => {}
        Verdict::Slip => withheld.slipped += 1,
        Verdict::Drop => {
            withheld.dropped += 1;
            return None;
        }
    }
    Some(prepared.withhold(settings, request, name, out))
}
