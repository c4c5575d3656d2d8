//! Domain names as octets and as text. A `Name` is valid by construction:
//! labels of 1 to 63 octets and a root label, 255 octets at most
//! (RFC 1035 §3.1, §2.3.4). Any octet may stand in a label (RFC 2181 §11).

use std::cmp::Ordering;
use std::fmt;

/// The longest name, its root label included.
pub const MAX_NAME: usize = 255;
/// The longest label, its length octet not included.
pub const MAX_LABEL: usize = 63;
/// The most labels, the root not included.
pub const MAX_LABELS: usize = 127;

/// An absolute domain name in wire form, its letters' case as written.
#[derive(Clone, Copy)]
pub struct Name {
    length: u8,
    octets: [u8; MAX_NAME],
}

/// Why octets or text are not a domain name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// A label of more than 63 octets.
    #[error("a label of {0} octets; the limit is 63")]
    LabelTooLong(usize),
    /// More than 255 octets with all lengths and the root.
    #[error("a name of more than 255 octets")]
    NameTooLong,
    /// Two dots in a row, or a dot at the start.
    #[error("an empty label")]
    EmptyLabel,
    /// `\` at the end, or `\` and digits that are not three or pass 255.
    #[error("a broken escape; write \\X for a character or \\DDD for an octet, 000 to 255")]
    BadEscape,
    /// No final dot, and nothing to complete the name with.
    #[error("a relative name, and no origin is known; end it with a dot or set $ORIGIN before it")]
    NoOrigin,
    /// Wire form that ends early, goes on, or holds a compression pointer.
    #[error("broken wire form")]
    BadWire,
}

impl Name {
    /// The root, `.`.
    pub const ROOT: Name = Name {
        length: 1,
        octets: [0; MAX_NAME],
    };

    /// A name from its whole wire form, without compression.
    pub fn from_wire(octets: &[u8]) -> Result<Name, NameError> {
        if wire_length(octets) != Some(octets.len()) {
            return Err(NameError::BadWire);
        }
        let mut name = Name::ROOT;
        name.octets[..octets.len()].copy_from_slice(octets);
        name.length = octets.len() as u8;
        Ok(name)
    }

    /// A name from its presentation form (RFC 1035 §5.1): `@` is the origin,
    /// a name without a final dot is completed by it.
    pub fn from_text(text: &[u8], origin: Option<&Name>) -> Result<Name, NameError> {
        if text == b"@" {
            return origin.copied().ok_or(NameError::NoOrigin);
        }
        if text == b"." {
            return Ok(Name::ROOT);
        }
        let mut name = NameBuilder::new();
        let mut rest = text;
        let mut open = false;
        while let Some((&octet, after)) = rest.split_first() {
            rest = after;
            match octet {
                b'.' => {
                    name.end_label()?;
                    open = false;
                }
                b'\\' => {
                    let (value, after) = unescape(rest).ok_or(NameError::BadEscape)?;
                    rest = after;
                    name.push(value);
                    open = true;
                }
                octet => {
                    name.push(octet);
                    open = true;
                }
            }
        }
        if !open {
            // An empty text has no label either; a final dot has ended the last.
            return if text.is_empty() {
                Err(NameError::EmptyLabel)
            } else {
                name.finish(&[0])
            };
        }
        name.end_label()?;
        let origin = origin.ok_or(NameError::NoOrigin)?;
        name.finish(origin.as_wire())
    }

    /// The wire form, root label included.
    pub fn as_wire(&self) -> &[u8] {
        &self.octets[..self.length as usize]
    }

    /// The labels from the left, without lengths and without the root.
    pub fn labels(&self) -> Labels<'_> {
        Labels {
            rest: self.as_wire(),
        }
    }

    /// True for `ancestor` itself and every name below it.
    pub fn is_within(&self, ancestor: &Name) -> bool {
        let (own, above) = (self.as_wire(), ancestor.as_wire());
        let mut start = 0;
        while own.len() - start > above.len() {
            start += 1 + own[start] as usize;
        }
        own[start..].eq_ignore_ascii_case(above)
    }

    /// The same name in lower case.
    pub fn to_lower(mut self) -> Name {
        self.octets[..self.length as usize].make_ascii_lowercase();
        self
    }
}

/// Names are equal without regard to ASCII case (RFC 4343).
impl PartialEq for Name {
    fn eq(&self, other: &Name) -> bool {
        self.as_wire().eq_ignore_ascii_case(other.as_wire())
    }
}

impl Eq for Name {}

impl std::str::FromStr for Name {
    type Err = NameError;

    /// An absolute name; the final dot may be left out.
    fn from_str(text: &str) -> Result<Name, NameError> {
        Name::from_text(text.as_bytes(), Some(&Name::ROOT))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.length == 1 {
            return f.write_str(".");
        }
        for label in self.labels() {
            for &octet in label {
                match octet {
                    b'.' | b'"' | b'\\' | b';' | b'(' | b')' | b'@' | b'$' => {
                        write!(f, "\\{}", octet as char)?
                    }
                    b'!'..=b'~' => write!(f, "{}", octet as char)?,
                    other => write!(f, "\\{other:03}")?,
                }
            }
            f.write_str(".")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The labels of a name, from the left.
pub struct Labels<'n> {
    rest: &'n [u8],
}

impl<'n> Iterator for Labels<'n> {
    type Item = &'n [u8];

    fn next(&mut self) -> Option<&'n [u8]> {
        let (&length, rest) = self.rest.split_first()?;
        let (label, rest) = rest.split_at(length as usize);
        self.rest = rest;
        (length != 0).then_some(label)
    }
}

/// Octets that the uncompressed name at the start of `octets` takes, or
/// `None` where there is no valid one.
pub fn wire_length(octets: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let length = *octets.get(at)? as usize;
        at += 1 + length;
        if length == 0 {
            return Some(at);
        }
        if length > MAX_LABEL || at >= MAX_NAME {
            return None;
        }
    }
}

/// The canonical order of names (RFC 4034 §6.1), given in wire form and lower
/// case: by their labels from the root, a name before those below it.
pub fn canonical_order(one: &[u8], other: &[u8]) -> Ordering {
    Starts::of(other).name(other).order_of(one)
}

/// Where the labels of a name start, and where it ends, of which a root label is the
/// end.
pub struct Starts {
    starts: [u8; MAX_LABELS + 1],
    labels: usize,
}

impl Starts {
    /// Those of a name, or of as many labels at the start of one.
    pub fn of(octets: &[u8]) -> Starts {
        let mut starts = [0; MAX_LABELS + 1];
        let (mut at, mut labels) = (0, 0);
        while let Some(&length @ 1..) = octets.get(at) {
            starts[labels] = at as u8;
            (at, labels) = (at + 1 + usize::from(length), labels + 1);
        }
        starts[labels] = at as u8;
        Starts { starts, labels }
    }

    /// The name that they are of.
    pub fn name<'n>(&'n self, octets: &'n [u8]) -> Marked<'n> {
        Marked::new(octets, &self.starts[..=self.labels])
    }
}

/// A name in wire form and lower case, its labels marked, which is to be compared with
/// many. A root label at its end is no label of its own.
#[derive(Clone, Copy)]
pub struct Marked<'n> {
    octets: &'n [u8],
    /// Offsets of the labels and of the end, from where the first stands at its own.
    starts: &'n [u8],
}

impl<'n> Marked<'n> {
    /// The end of a name, and where in that name its labels start and end.
    pub fn new(octets: &'n [u8], starts: &'n [u8]) -> Marked<'n> {
        debug_assert!(!starts.is_empty(), "an end is there always");
        Marked { octets, starts }
    }

    /// How many labels there are.
    pub fn labels(&self) -> usize {
        self.starts.len() - 1
    }

    /// A label, counted from the start, without its length.
    pub fn label(&self, at: usize) -> &'n [u8] {
        &self.octets[self.start(at) + 1..self.start(at + 1)]
    }

    fn start(&self, at: usize) -> usize {
        usize::from(self.starts[at] - self.starts[0])
    }

    /// Where another name stands to this one.
    pub fn order_of(&self, other: &[u8]) -> Ordering {
        self.order_with(other, |offset| first_start_at(other, offset))
    }

    /// The same where the other's labels are marked, too, and need not be gone through.
    pub fn order_of_marked(&self, other: &Marked<'_>) -> Ordering {
        self.order_with(other.octets, |offset| other.first_start_at(offset))
    }

    /// Where the first label starts, or the name ends, that is at an offset or behind it,
    /// and where the one before it does.
    fn first_start_at(&self, offset: usize) -> (usize, usize) {
        let first = usize::from(self.starts[0]);
        let starts = &self.starts[..self.labels()];
        let label = starts.partition_point(|&start| usize::from(start) - first < offset);
        (self.start(label), self.start(label.saturating_sub(1)))
    }

    /// Either of these, with what finds the first label of the other that starts at an
    /// offset or behind it: where that is, and where the one before it does.
    ///
    /// Octets that both end in are passed over many at a time. From the first label that
    /// starts at the same place within them the names are alike; what stands before it is
    /// compared.
    fn order_with(
        &self,
        other: &[u8],
        first_start: impl FnOnce(usize) -> (usize, usize),
    ) -> Ordering {
        let same = common_end(self.octets, other);
        let (mut at, mut before) = first_start(other.len() - same);
        let first = self.starts[0];
        let left = |start: &u8| self.octets.len() - usize::from(start - first);
        let starts = &self.starts[..self.labels()];
        let mut label = starts.partition_point(|start| left(start) > same);
        loop {
            match left(&self.starts[label]).cmp(&(other.len() - at)) {
                Ordering::Less => (at, before) = (at + 1 + usize::from(other[at]), at),
                Ordering::Greater => label += 1,
                Ordering::Equal => break,
            }
        }
        // Of two labels here, one is never the other.
        let other_last = (at > 0).then(|| &other[before + 1..at]);
        other_last.cmp(&label.checked_sub(1).map(|label| self.label(label)))
    }
}

/// Where the first label starts, or a name ends, that is at an offset or behind it, and
/// where the one before it does.
#[inline]
fn first_start_at(name: &[u8], offset: usize) -> (usize, usize) {
    let (mut at, mut before) = (0, 0);
    while at < offset {
        (at, before) = (at + 1 + usize::from(name[at]), at);
    }
    (at, before)
}

/// The label of a name that stands right before an offset, without its length, where
/// another label or the root starts there. The offset is not that of the name.
#[inline]
pub fn label_before(name: &[u8], offset: usize) -> Option<&[u8]> {
    let (start, before) = first_start_at(name, offset);
    (start == offset).then(|| &name[before + 1..start])
}

/// How many octets both end in.
pub fn common_end(mut one: &[u8], mut other: &[u8]) -> usize {
    const STEP: usize = 16;
    let mut same = 0;
    while let Some((before, end)) = one.split_last_chunk::<STEP>()
        && let Some((other_before, other_end)) = other.split_last_chunk()
    {
        let unlike = u128::from_be_bytes(*end) ^ u128::from_be_bytes(*other_end);
        if unlike != 0 {
            return same + unlike.trailing_zeros() as usize / 8;
        }
        (one, other, same) = (before, other_before, same + STEP);
    }
    let pairs = one.iter().rev().zip(other.iter().rev());
    same + pairs.take_while(|(one, other)| one == other).count()
}

/// Reads what follows a `\` in a master file: three digits, or any other
/// character for itself (RFC 1035 §5.1). Returns the octet and the rest.
pub fn unescape(text: &[u8]) -> Option<(u8, &[u8])> {
    let (&first, rest) = text.split_first()?;
    if !first.is_ascii_digit() {
        return Some((first, rest));
    }
    let (digits, rest) = text.split_at_checked(3)?;
    let mut value = 0u16;
    for digit in digits {
        value = value * 10 + digit.is_ascii_digit().then(|| u16::from(digit - b'0'))?;
    }
    Some((u8::try_from(value).ok()?, rest))
}

/// Builds a name label by label; overlong input is noted and reported once
/// its full length is known.
struct NameBuilder {
    name: Name,
    /// Where the open label's length octet stands.
    label: usize,
    /// Octets of the open label, counted past the limit too.
    label_length: usize,
    at: usize,
}

impl NameBuilder {
    fn new() -> Self {
        NameBuilder {
            name: Name::ROOT,
            label: 0,
            label_length: 0,
            at: 1,
        }
    }

    fn push(&mut self, octet: u8) {
        if let Some(place) = self.name.octets.get_mut(self.at) {
            *place = octet;
        }
        self.at += 1;
        self.label_length += 1;
    }

    fn end_label(&mut self) -> Result<(), NameError> {
        match self.label_length {
            0 => return Err(NameError::EmptyLabel),
            1..=MAX_LABEL => {}
            length => return Err(NameError::LabelTooLong(length)),
        }
        // The next length octet, the root's at least, must have room.
        if self.at >= MAX_NAME {
            return Err(NameError::NameTooLong);
        }
        self.name.octets[self.label] = self.label_length as u8;
        self.label = self.at;
        self.label_length = 0;
        self.at += 1;
        Ok(())
    }

    fn finish(mut self, suffix: &[u8]) -> Result<Name, NameError> {
        let end = self.label + suffix.len();
        let place = self.name.octets.get_mut(self.label..end);
        place.ok_or(NameError::NameTooLong)?.copy_from_slice(suffix);
        self.name.length = end as u8;
        Ok(self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn absolute(text: &str) -> Result<Name, NameError> {
        Name::from_text(text.as_bytes(), None)
    }

    #[test]
    fn text_and_wire_agree() {
        for (text, wire) in [
            (".", &b"\0"[..]),
            ("a.", b"\x01a\0"),
            ("Www.Example.", b"\x03Www\x07Example\0"),
            (r"a\.b.c.", b"\x03a.b\x01c\0"),
            (r"\000\255.", b"\x02\x00\xff\0"),
            (r"\@.", b"\x01@\0"),
        ] {
            let name = absolute(text).unwrap();
            assert_eq!(name.as_wire(), wire);
            assert_eq!(Name::from_wire(wire).unwrap(), name);
            assert_eq!(absolute(&name.to_string()).unwrap().as_wire(), wire);
        }
    }

    #[test]
    fn relative_names_take_the_origin() {
        let origin = absolute("example.").unwrap();
        let name = |text: &[u8]| Name::from_text(text, Some(&origin)).unwrap().to_string();
        assert_eq!(name(b"www"), "www.example.");
        assert_eq!(name(b"@"), "example.");
        assert_eq!(name(b"www."), "www.");
        assert_eq!(name(br"\@"), r"\@.example.");
        assert_eq!(absolute("www"), Err(NameError::NoOrigin));
    }

    #[test]
    fn limits_hold_on_both_sides() {
        let label = |n: usize| "x".repeat(n);
        assert!(absolute(&format!("{}.", label(63))).is_ok());
        assert_eq!(
            absolute(&format!("{}.", label(64))),
            Err(NameError::LabelTooLong(64))
        );
        assert_eq!(
            absolute(&format!("{}.", label(300))),
            Err(NameError::LabelTooLong(300))
        );
        // 3 * 64 + 62 + 1 octets are 255; one more is too many.
        let three = format!("{0}.{0}.{0}", label(63));
        let longest = absolute(&format!("{three}.{}.", label(61))).unwrap();
        assert_eq!(longest.as_wire().len(), 255);
        assert_eq!(
            absolute(&format!("{three}.{}.", label(62))),
            Err(NameError::NameTooLong)
        );
        let origin = absolute(&format!("{three}.")).unwrap();
        assert!(Name::from_text(label(61).as_bytes(), Some(&origin)).is_ok());
        let over = Name::from_text(label(62).as_bytes(), Some(&origin));
        assert_eq!(over, Err(NameError::NameTooLong));
    }

    #[test]
    fn broken_text_is_named() {
        for text in ["..", ".a.", "a..b.", ""] {
            assert_eq!(absolute(text), Err(NameError::EmptyLabel), "{text}");
        }
        for text in [r"a\", r"a\1.", r"a\12", r"a\256.", r"a\1x2."] {
            assert_eq!(absolute(text), Err(NameError::BadEscape), "{text}");
        }
    }

    #[test]
    fn canonical_order_is_that_of_the_rfc() {
        // RFC 4034 §6.1.
        let sorted = [
            &b"\x07example\0"[..],
            b"\x01a\x07example\0",
            b"\x08yljkjljk\x01a\x07example\0",
            b"\x01z\x01a\x07example\0",
            b"\x04zabc\x01a\x07example\0",
            b"\x01z\x07example\0",
            b"\x01\x01\x01z\x07example\0",
            b"\x01*\x01z\x07example\0",
            b"\x01\xc8\x01z\x07example\0",
        ];
        for (at, one) in sorted.iter().enumerate() {
            for (other_at, other) in sorted.iter().enumerate() {
                assert_eq!(canonical_order(one, other), at.cmp(&other_at));
            }
        }
        assert_eq!(canonical_order(b"\0", b"\x01a\0"), Ordering::Less);
    }

    /// Names of all kinds of labels, octets that could be lengths among them, against
    /// lists of their labels from the root.
    #[test]
    fn canonical_order_is_that_of_labels_from_the_root() {
        let labels: [&[u8]; 6] = [b"a", b"b", b"\x01a", b"a\x01a", b"\0", &[b'a'; 17]];
        let mut names = vec![Vec::new()];
        for depth in 0..4 {
            let above: Vec<Vec<&[u8]>> =
                names.iter().filter(|n| n.len() == depth).cloned().collect();
            for name in above {
                names.extend(labels.map(|label| [&name[..], &[label]].concat()));
            }
        }
        let wire = |name: &Vec<&[u8]>| {
            let labels = name.iter().rev();
            let mut wire = labels.fold(Vec::new(), |wire, label| {
                [&wire[..], &[label.len() as u8], label].concat()
            });
            wire.push(0);
            wire
        };
        let wires: Vec<Vec<u8>> = names.iter().map(wire).collect();
        let (step, other_step) = if cfg!(miri) { (211, 13) } else { (7, 3) };
        for (name, octets) in names.iter().zip(&wires).step_by(step) {
            for (other, other_octets) in names.iter().zip(&wires).step_by(other_step) {
                let expected = name.cmp(other);
                assert_eq!(
                    canonical_order(octets, other_octets),
                    expected,
                    "{name:?} {other:?}"
                );
                // The same without what all have in common.
                let (one, two) = (
                    &octets[..octets.len() - 1],
                    &other_octets[..other_octets.len() - 1],
                );
                assert_eq!(canonical_order(one, two), expected, "{name:?} {other:?}");
            }
        }
    }

    #[test]
    fn within_looks_at_labels_not_letters() {
        let name = |text: &str| absolute(text).unwrap();
        assert!(name("a.example.").is_within(&name("EXAMPLE.")));
        assert!(name("example.").is_within(&name("example.")));
        assert!(name("example.").is_within(&Name::ROOT));
        assert!(!name("example.").is_within(&name("a.example.")));
        assert!(!name("anexample.").is_within(&name("example.")));
        // The octets of the ancestor inside a longer label are no suffix.
        let trap = Name::from_wire(b"\x0aa\x07example\0\0");
        assert!(!trap.unwrap().is_within(&name("example.")));
    }
}
