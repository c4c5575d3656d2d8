//! The vocabulary of DNS messages: names, header fields, record types and a
//! bounds-checked cursor. It knows the octets and holds no policy: what to do
//! with a message is decided in `answer`.

pub mod cursor;
pub mod field;
pub mod header;
pub mod lookup_name;
pub mod name;
pub mod octets;
pub mod rdata;
pub mod rtype;

pub use cursor::{Cursor, RecordOctets};
pub use header::Rcode;
pub use lookup_name::LookupName;
pub use name::{Name, NameError};
pub use rtype::RrType;
