//! Messages -> what they say. Names are written out, wherever they stand, so
//! that what is compared does not depend on compression.

use shardns::wire::field::Kind;
use shardns::wire::{Name, RrType};

/// A decoded message.
#[derive(Debug, PartialEq)]
pub struct Message {
    pub id: u16,
    pub flags: u16,
    pub question: Option<(Name, RrType, u16)>,
    /// Answer, authority and additional section, the OPT record apart.
    pub sections: [Vec<Record>; 3],
    pub opt: Option<Opt>,
}

/// A record, its data uncompressed.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub owner: Name,
    pub rtype: RrType,
    pub class: u16,
    pub ttl: u32,
    pub rdata: Vec<u8>,
}

/// An OPT record.
#[derive(Debug, PartialEq)]
pub struct Opt {
    pub size: u16,
    pub high_rcode: u8,
    pub version: u8,
    pub flags: u16,
    pub options: Vec<(u16, Vec<u8>)>,
}

impl Message {
    /// The response code, with the upper bits from the OPT record.
    pub fn rcode(&self) -> u16 {
        let high = self.opt.as_ref().map_or(0, |opt| u16::from(opt.high_rcode));
        high << 4 | self.flags & 15
    }
}

impl Record {
    /// One line that is equal for equal records, and only for them; the case
    /// of the owner counts.
    pub fn line(&self) -> String {
        let mut line = format!("{} {} {} {} ", self.owner, self.ttl, self.class, self.rtype);
        shardns::zone::text::rdata::print(self.rtype, &self.rdata, &mut line);
        line
    }
}

/// Decodes a whole message.
pub fn decode(message: &[u8]) -> Result<Message, String> {
    let mut at = Reader { message, at: 0 };
    let (id, flags) = (at.u16()?, at.u16()?);
    let counts = [at.u16()?, at.u16()?, at.u16()?, at.u16()?];
    let question = match counts[0] {
        0 => None,
        1 => Some((at.name()?, RrType(at.u16()?), at.u16()?)),
        n => return Err(format!("{n} questions")),
    };
    let mut sections = [const { Vec::new() }; 3];
    let mut opt = None;
    for (section, count) in sections.iter_mut().zip(&counts[1..]) {
        for _ in 0..*count {
            let record = at.record()?;
            if record.rtype != RrType::OPT {
                section.push(record);
            } else if opt.replace(read_opt(&record)?).is_some() {
                return Err("two OPT records".into());
            }
        }
    }
    if at.at != message.len() {
        return Err(format!(
            "{} octets behind the message",
            message.len() - at.at
        ));
    }
    Ok(Message {
        id,
        flags,
        question,
        sections,
        opt,
    })
}

fn read_opt(record: &Record) -> Result<Opt, String> {
    if record.owner != Name::ROOT {
        return Err("an OPT record that is not at the root".into());
    }
    let [high_rcode, version, upper, lower] = record.ttl.to_be_bytes();
    let mut options = Vec::new();
    let mut at = Reader {
        message: &record.rdata,
        at: 0,
    };
    while at.at < record.rdata.len() {
        let (code, length) = (at.u16()?, at.u16()?);
        options.push((code, at.take(length.into())?.to_vec()));
    }
    Ok(Opt {
        size: record.class,
        high_rcode,
        version,
        flags: u16::from_be_bytes([upper, lower]),
        options,
    })
}

struct Reader<'m> {
    message: &'m [u8],
    at: usize,
}

impl<'m> Reader<'m> {
    fn take(&mut self, n: usize) -> Result<&'m [u8], String> {
        let taken = self
            .message
            .get(self.at..self.at + n)
            .ok_or("the message ends early")?;
        self.at += n;
        Ok(taken)
    }

    fn u16(&mut self) -> Result<u16, String> {
        Ok(u16::from_be_bytes(self.take(2)?.try_into().unwrap()))
    }

    fn u32(&mut self) -> Result<u32, String> {
        Ok(u32::from_be_bytes(self.take(4)?.try_into().unwrap()))
    }

    /// Pointers must lead backwards, each further than the one before, and
    /// never into the header.
    fn name(&mut self) -> Result<Name, String> {
        let mut wire = Vec::new();
        let mut at = self.at;
        let mut end = None;
        loop {
            let length = *self.message.get(at).ok_or("a name runs over the end")?;
            match length {
                0 => {
                    wire.push(0);
                    break;
                }
                1..=63 => {
                    let label = self.message.get(at..at + 1 + usize::from(length));
                    wire.extend(label.ok_or("a label runs over the end")?);
                    at += 1 + usize::from(length);
                }
                192.. => {
                    let low = *self.message.get(at + 1).ok_or("half a pointer")?;
                    end.get_or_insert(at + 2);
                    let target = usize::from(u16::from_be_bytes([length & 63, low]));
                    if target >= at || target < 12 {
                        return Err(format!("a pointer at {at} to {target}"));
                    }
                    at = target;
                }
                _ => return Err(format!("label type {length:#x}")),
            }
            if wire.len() > 255 {
                return Err("a name of more than 255 octets".into());
            }
        }
        self.at = end.unwrap_or(at + 1);
        Name::from_wire(&wire).map_err(|error| error.to_string())
    }

    fn record(&mut self) -> Result<Record, String> {
        let owner = self.name()?;
        let (rtype, class, ttl) = (RrType(self.u16()?), self.u16()?, self.u32()?);
        let length = usize::from(self.u16()?);
        let end = self.at + length;
        let rdata = self.rdata(rtype, end)?;
        if self.at != end {
            return Err(format!(
                "{rtype}: data that ends at {} and should at {end}",
                self.at
            ));
        }
        Ok(Record {
            owner,
            rtype,
            class,
            ttl,
            rdata,
        })
    }

    /// Names are compressed in the old types alone (RFC 3597 §4), in which
    /// they stand first, behind two octets, or two in a row.
    fn rdata(&mut self, rtype: RrType, end: usize) -> Result<Vec<u8>, String> {
        let mut octets = Vec::new();
        let fields = rtype.fields().unwrap_or_default();
        if fields
            .iter()
            .any(|field| field.kind == Kind::CompressibleName)
        {
            for field in fields {
                match field.kind {
                    Kind::CompressibleName => octets.extend(self.name()?.as_wire()),
                    Kind::U16 => octets.extend(self.take(2)?),
                    Kind::U32 | Kind::Period => octets.extend(self.take(4)?),
                    other => return Err(format!("{rtype} has a field of kind {other:?}")),
                }
            }
        } else {
            let rest = end.checked_sub(self.at).ok_or("data runs over the end")?;
            octets.extend(self.take(rest)?);
        }
        Ok(octets)
    }
}
