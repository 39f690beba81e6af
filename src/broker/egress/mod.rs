//! The egress door: the only way out for programs inside, by rules about names.
//!
//! Programs see a proxy on their own loopback; its listening socket is held here. A name is
//! resolved when a rule has allowed it, once, and the address that was judged is the one that
//! is dialled. TLS is not opened: its first message has to be for the host that was asked for.
//! Whatever is asked for, allowed or not, has a line in the ledger.
//!
//! | file | holds |
//! |---|---|
//! | `door` | the rules, and what is counted by them |
//! | `serve` | the server: who wants what |
//! | `tunnel`, `copy` | CONNECT and SOCKS: judged, dialled, copied |
//! | `plain`, `body` | plain HTTP, request by request |
//! | `names`, `trust` | from a name to an address, and whom TLS of our own trusts |
//! | `meter` | bytes and rates of a rule |
//! | `hello`, `head`, `socks`, `question`, `packet` | readers of hostile bytes, pure |
//! | `nonames` | the place for names inside, where the answer is no |
//! | `past` | what is sent past the door, where that can be seen |
//! | `attempt`, `ledger` | one line an attempt, however it ends |
//! | `stranger` | those readers under one name, for who tries them with hostile bytes |
//! | `rewound` | a stream of which something was read already |

mod attempt;
mod body;
mod copy;
mod door;
mod head;
mod hello;
mod ledger;
mod meter;
mod names;
mod nonames;
mod packet;
mod past;
mod plain;
mod question;
mod rewound;
mod serve;
mod socks;
mod stranger;
mod trust;
mod tunnel;

pub use door::{EgressConfig, EgressDoor};
pub use ledger::EgressCount;
pub use stranger::{Stranger, read_stranger};

/// The JSON Schema of one line of the ledger.
pub fn ledger_schema() -> schemars::Schema {
    crate::record::schema_of::<ledger::Line>()
}
