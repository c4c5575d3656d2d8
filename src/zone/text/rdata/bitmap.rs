//! Sets of record types in text: their names, in any order.

use super::reader::{FieldFault, Reader};
use super::string::push;
use crate::wire::RrType;
use crate::wire::rdata::bitmap;

/// Reads all that is left as types, in any order. Meta-types are let through:
/// signers of denials on the fly list NXNAME (RFC 9824 §2).
pub(super) fn read(reader: &mut Reader<'_, '_>, may_be_empty: bool) -> Result<(), FieldFault> {
    let mut types = Vec::new();
    while !reader.is_empty() {
        let rtype = RrType::from_text(reader.token()?.text);
        types.push(rtype.ok_or_else(|| reader.fault("not a record type"))?);
    }
    if types.is_empty() && !may_be_empty {
        return Err(reader.missing());
    }
    types.sort_unstable();
    bitmap::write(&types, reader.out);
    Ok(())
}

/// Writes the types of a valid set.
pub(super) fn print(octets: &[u8], out: &mut String) {
    let mut separator = "";
    for rtype in bitmap::types(octets) {
        push(format_args!("{separator}{rtype}"), out);
        separator = " ";
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::reprinted;
    use crate::wire::RrType;

    #[test]
    fn types_are_printed_rising_and_once() {
        let text = "a. TYPE1234 NSEC MX A MX";
        assert_eq!(reprinted(RrType::NSEC, text), "a. A MX NSEC TYPE1234");
    }
}
