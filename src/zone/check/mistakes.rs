//! What people get wrong: zones that can be served and mean something else than
//! whoever wrote them thinks.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use super::super::denial::Parameters;
use super::super::hashes::MAX_ITERATIONS;
use super::super::names::NameId;
use super::super::records::{Faults, Record};
use super::super::sorted::{Sorted, SortedSet};
use super::Checker;
use super::targets::target;
use crate::wire::field::Kind;
use crate::wire::rdata::svcb;
use crate::wire::{LookupName, Name, RrType, rdata};

/// The end of a reverse zone's name, and how many octets three numbers before it
/// take at least.
const REVERSE: &[u8] = b"\x07in-addr\x04arpa\0";
const MIN_OCTETS_OF_24: usize = 6;
/// The priority of a service binding that is an alias and has no parameters.
const ALIAS_MODE: &[u8] = &[0, 0];
/// A field of NSEC3PARAM.
const ITERATIONS: usize = 2;
/// Fields of a SOA.
const MAILBOX: usize = 1;
const SERIAL: usize = 2;

impl Checker<'_> {
    /// An owner that ends in its origin twice.
    pub(super) fn owner(&self, faults: &mut Faults, id: NameId) {
        let wire = self.sorted.records.names.wire(id);
        if self.is_doubled(wire, self.sorted.is_cut(id))
            && let Some(record) = self.all(id).next()
        {
            faults.warning(record.from, doubled(&self.shown(id)));
        }
    }

    /// Mistakes that a record set shows by itself.
    pub(super) fn mistakes(&self, faults: &mut Faults, id: NameId, set: &SortedSet) {
        if rdata::has_names(set.rtype) {
            self.names_in(faults, set);
        }
        match set.rtype {
            RrType::SOA => self.soa(faults, set),
            RrType::NS if id == self.sorted.apex => self.servers(faults, set),
            RrType::CNAME => self.alias(faults, set),
            RrType::DNAME => self.redirection(faults, id, set),
            RrType::DS if id == self.sorted.apex => self.ds_at_apex(faults, set),
            RrType::DS => self.ds_elsewhere(faults, id, set),
            RrType::DNSKEY if id == self.sorted.apex => self.zone_keys(faults, set),
            RrType::NSEC3PARAM if id == self.sorted.apex => self.iterations(faults, set),
            RrType::CDS | RrType::CDNSKEY if id == self.sorted.apex => {
                self.requests(faults, id, set);
            }
            RrType::SVCB => self.name_server_binding(faults, id, set),
            _ => {}
        }
        if [RrType::SOA, RrType::NS].contains(&set.rtype) && set.ttl == 0 {
            let sentence = format!(
                "a TTL of 0 on {}: resolvers keep it for no question at all",
                set.rtype
            );
            faults.warning(self.first(set).from, sentence);
        }
    }

    /// Names in the data that end in their origin twice, and addresses where a
    /// name belongs.
    fn names_in(&self, faults: &mut Faults, set: &SortedSet) {
        for record in self.sorted.records(set) {
            let octets = self.sorted.records.rdata(record);
            rdata::names(set.rtype, octets, |_, place| {
                if !self.may_be_mistake(&octets[place.clone()]) {
                    return;
                }
                let Ok(name) = Name::from_wire(&octets[place.clone()]) else {
                    return;
                };
                let from = record.from.field(field_at(set.rtype, octets, place.start));
                if self.is_address(&name) && !self.is_there(&name) {
                    let sentence = format!(
                        "{} points at {name}, which looks like an address; a name belongs there",
                        set.rtype
                    );
                    faults.warning(from, sentence);
                } else if self.is_doubled(name.to_lower().as_wire(), false)
                    && self.is_missing(&name)
                {
                    faults.warning(from, doubled(&name));
                }
            });
        }
    }

    /// True for a name of which the part before an origin ends in that origin once
    /// more.
    fn is_doubled(&self, wire: &[u8], is_cut: bool) -> bool {
        let mut origins = self.origins.iter();
        origins.any(|origin| is_doubled(wire, origin.as_wire(), is_cut))
    }

    /// False for a name of which a glance shows that it is neither an address nor
    /// ends in an origin twice, as it is with nearly all.
    fn may_be_mistake(&self, wire: &[u8]) -> bool {
        let Some((&length, behind)) = wire.split_first() else {
            return false;
        };
        let label = &behind[..usize::from(length).min(behind.len())];
        let is_number = label
            .first()
            .is_some_and(|octet| b"+0123456789".contains(octet));
        is_number
            || label.contains(&b':')
            || self.origins.iter().any(|origin| {
                let (origin, octets) = (origin.as_wire(), wire.len());
                let labels = &origin[..origin.len() - 1];
                let before = octets.checked_sub(origin.len() + labels.len());
                let same = |at: usize| wire[at..at + labels.len()].eq_ignore_ascii_case(labels);
                !labels.is_empty() && before.is_some_and(same)
            })
    }

    /// True for four numbers up to 255, or an IPv6 address, where the zone's name
    /// or nothing follows. In a reverse zone of whole networks four numbers can be
    /// a name (RFC 2317).
    pub(super) fn is_address(&self, name: &Name) -> bool {
        let lower = name.to_lower();
        let wire = lower.as_wire();
        let apex = self.sorted.records.names.wire(self.sorted.apex);
        let is_whole = apex.ends_with(REVERSE) && apex.len() < REVERSE.len() + MIN_OCTETS_OF_24;
        let (labels, may_be_name) = match (wire.strip_suffix(apex), wire.strip_suffix(b"\0")) {
            (Some(labels), _) => (labels, is_whole),
            (None, Some(labels)) => (labels, false),
            (None, None) => return false,
        };
        let mut rest = labels;
        let mut found = Vec::new();
        while let Some((&length, behind)) = rest.split_first()
            && let Some((label, behind)) = behind.split_at_checked(length.into())
        {
            found.push(std::str::from_utf8(label).unwrap_or(""));
            rest = behind;
        }
        match found[..] {
            [one] => one.contains(':') && one.parse::<Ipv6Addr>().is_ok(),
            [_, _, _, _] => !may_be_name && found.iter().all(|label| label.parse::<u8>().is_ok()),
            _ => false,
        }
    }

    fn soa(&self, faults: &mut Faults, set: &SortedSet) {
        let record = self.first(set);
        let octets = self.sorted.records.rdata(record);
        let (mut mailbox, mut serial) = (None, 1);
        rdata::fields(RrType::SOA, octets, |kind, place| match kind {
            Kind::CompressibleName => mailbox = Name::from_wire(&octets[place]).ok(),
            Kind::U32 => serial = octets[place].iter().fold(0, |n, &o| n << 8 | u32::from(o)),
            _ => {}
        });
        if let Some(mailbox) = mailbox
            && mailbox.labels().any(|label| label.contains(&b'@'))
        {
            let sentence = format!(
                "the mailbox {mailbox} has an @; a dot stands in its place, as in \
                hostmaster.example.com (RFC 1035 §8)"
            );
            faults.warning(record.from.field(MAILBOX), sentence);
        }
        if serial == 0 {
            let sentence = "a serial of 0, which secondaries and tools take for none at all; \
                begin with 1";
            faults.warning(record.from.field(SERIAL), sentence);
        }
    }

    /// RFC 1034 §4.1: "each zone is required to be available on at least two
    /// servers", and two names of one host are one server.
    fn servers(&self, faults: &mut Faults, set: &SortedSet) {
        let apex = self.shown(self.sorted.apex);
        let hosts = || self.sorted.records(set);
        if hosts().len() == 1 {
            let sentence = format!(
                "{apex} has one name server; RFC 1034 §4.1 wants two, on different networks"
            );
            faults.warning(self.first(set).from, sentence);
            return;
        }
        let known: Option<Vec<_>> = hosts().map(|record| self.addresses(record)).collect();
        if known.is_some_and(is_one_host) {
            let sentence = format!(
                "the name servers of {apex} are one host, going by their addresses; RFC 1034 §4.1 \
                wants two servers, on different networks"
            );
            faults.warning(self.first(set).from, sentence);
        }
    }

    /// The addresses of a name server; `None` where the zone knows none.
    fn addresses(&self, record: &Record) -> Option<BTreeSet<&[u8]>> {
        let sorted = self.sorted;
        let host = sorted.covering(&LookupName::of(&target(&sorted.records, record)?))?;
        let sets = [RrType::A, RrType::AAAA].into_iter();
        let sets = sets.filter_map(|rtype| sorted.set(host, rtype));
        let records = sets.flat_map(|set| sorted.records(set));
        let addresses: BTreeSet<_> = records.map(|record| sorted.records.rdata(record)).collect();
        (!addresses.is_empty()).then_some(addresses)
    }

    fn ds_at_apex(&self, faults: &mut Faults, set: &SortedSet) {
        let apex = self.shown(self.sorted.apex);
        let sentence = format!(
            "DS at {apex}, the zone's own name; it belongs into the parent (RFC 4035 §2.4)"
        );
        faults.warning(self.first(set).from, sentence);
    }

    /// More iterations than resolvers take make a zone that nobody can use, and each
    /// proof of this server costs as many hashes (RFC 9276 §3.1, §3.2).
    fn iterations(&self, faults: &mut Faults, set: &SortedSet) {
        for record in self.sorted.records(set) {
            let read = Parameters::read(self.sorted.records.rdata(record));
            // With flags it is no chain that proves anything (RFC 5155 §4.1.2).
            let Some((Parameters { iterations, .. }, 0)) = read else {
                continue;
            };
            let from = record.from.field(ITERATIONS);
            if iterations > MAX_ITERATIONS {
                let sentence = format!(
                    "an iteration count of {iterations}; no more than {MAX_ITERATIONS} is served, \
                    and 0 is right: sign the zone anew (RFC 9276 §3.1)"
                );
                faults.error(from, sentence);
            } else if iterations > 0 {
                let sentence = format!(
                    "an iteration count of {iterations}, for which some resolvers take the zone for \
                    unsigned; there should be 0 (RFC 9276 §3.1)"
                );
                faults.warning(from, sentence);
            }
        }
    }

    /// A name server's own binding says which protocols it speaks, and behind
    /// HTTP where (RFC 9461 §4, §5).
    fn name_server_binding(&self, faults: &mut Faults, id: NameId, set: &SortedSet) {
        let owner = self.shown(id);
        let mut labels = owner.labels();
        let (first, second) = (labels.next(), labels.next());
        let is_port = first.is_some_and(|label| {
            let digits = label.strip_prefix(b"_").unwrap_or_default();
            !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
        });
        if first != Some(b"_dns") && !(is_port && second == Some(b"_dns")) {
            return;
        }
        for record in self.sorted.records(set) {
            let octets = self.sorted.records.rdata(record);
            let mut parameters = None;
            rdata::fields(RrType::SVCB, octets, |kind, place| {
                if kind == Kind::ServiceParameters {
                    parameters = Some(place);
                }
            });
            let is_alias = octets.starts_with(ALIAS_MODE);
            if let Some(place) = parameters.filter(|_| !is_alias)
                && let Some(missing) = missing_parameter(&octets[place])
            {
                let sentence = format!("the binding of {owner} {missing}");
                faults.warning(record.from, sentence);
            }
        }
    }
}

/// What names may end in twice by mistake, in lower case, each once.
pub(super) fn origins(sorted: &Sorted) -> Vec<Name> {
    let apex = sorted.records.names.name(sorted.apex);
    let mut origins = vec![apex];
    for origin in &sorted.records.origins {
        if !origins.contains(origin) {
            origins.push(origin.to_lower());
        }
    }
    origins
}

/// True where all servers hang together by addresses that they share.
fn is_one_host(mut servers: Vec<BTreeSet<&[u8]>>) -> bool {
    let mut host = servers.pop().unwrap_or_default();
    while let Some(at) = servers.iter().position(|server| !server.is_disjoint(&host)) {
        host.extend(servers.swap_remove(at));
    }
    servers.is_empty()
}

/// What a name server's binding lacks.
fn missing_parameter(parameters: &[u8]) -> Option<&'static str> {
    let find = |key| svcb::parameters(parameters).find(|(found, _)| *found == key);
    let Some((_, protocols)) = find(svcb::ALPN) else {
        return Some("has no alpn, without which no client uses it (RFC 9461 §4.1)");
    };
    let is_http = |protocol: &[u8]| [&b"h2"[..], b"h3", b"http/1.1"].contains(&protocol);
    let speaks_http = svcb::items(protocols).any(is_http);
    (speaks_http && find(svcb::DOHPATH).is_none())
        .then_some("speaks HTTP and has no dohpath (RFC 9461 §5)")
}

/// True for a name that ends in `origin` twice. Where that has one label, the zone
/// may have a host of its own name, and what is delegated below it may be called
/// the same, as is `com.com`.
fn is_doubled(wire: &[u8], origin: &[u8], is_cut: bool) -> bool {
    let labels = &origin[..origin.len() - 1];
    let Some(&first) = labels.first() else {
        return false;
    };
    let before = wire.strip_suffix(origin);
    if !before.is_some_and(|before| before.ends_with(labels)) {
        return false;
    }
    let twice = labels.len() + origin.len();
    let is_short = labels.len() == 1 + usize::from(first);
    if is_short && (is_cut || wire.len() == twice) {
        return false;
    }
    // The octets agree; now the labels must.
    let mut rest = wire;
    while rest.len() > twice {
        rest = &rest[1 + usize::from(rest[0])..];
    }
    rest.len() == twice
}

/// The field of the data in which an octet stands, counted from 0.
fn field_at(rtype: RrType, octets: &[u8], at: usize) -> usize {
    let mut index = 0;
    rdata::fields(rtype, octets, |_, place| {
        index += usize::from(place.end <= at)
    });
    index
}

fn doubled(name: &Name) -> String {
    format!("{name} ends in its origin twice; has it lost the dot at its end?")
}
