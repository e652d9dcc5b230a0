//! Everything that nodes say to each other above the transport, by name: for test vectors and fuzzing.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    delivering::{Answer, Delivery},
    grouping::{
        forking::{ForkQuestion, StateQuestion},
        standing::{
            syncing::{Ack, Push},
            taking::Question as PollQuestion,
        },
    },
    migrating::Start,
};
use crate::{
    admin::{
        SignedCommand,
        commit::message::Message,
        history::{Page, Question},
    },
    compute::{
        Inventory, MigrateError,
        groups::{
            ForkPoint, Holding,
            ledger::{self, Statement},
        },
        migration::{Advice, Offer, Replay, Replayed, Taken, Tell},
    },
    wire,
};

/// What something is called, and how it is read and written.
pub(crate) struct Body {
    pub(crate) name: &'static str,
    /// Bytes that a node takes, read and written again.
    pub(crate) rewritten: fn(&[u8]) -> Option<Vec<u8>>,
}

/// Something that can be told in another form.
pub(crate) trait Visitor {
    type Out;

    fn visit<T: Serialize + DeserializeOwned>(self) -> Self::Out;
}

fn plain<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Option<Vec<u8>> {
    Some(wire::encode(&wire::decode::<T>(bytes).ok()?))
}

fn inventory(bytes: &[u8]) -> Option<Vec<u8>> {
    Some(Inventory::decode(bytes).ok()?.encode())
}

fn groups(bytes: &[u8]) -> Option<Vec<u8>> {
    ledger::is_sound(bytes).then(|| plain::<Statement>(bytes)).flatten()
}

fn message(bytes: &[u8]) -> Option<Vec<u8>> {
    Some(Message::parse(bytes).ok()?.encode())
}

fn command(bytes: &[u8]) -> Option<Vec<u8>> {
    Some(SignedCommand::parse(bytes).ok()?.encode())
}

fn question(bytes: &[u8]) -> Option<Vec<u8>> {
    Some(Question::parse(bytes)?.encode())
}

fn page(bytes: &[u8]) -> Option<Vec<u8>> {
    Some(Page::parse(bytes)?.encode())
}

/// A body of a version of its own, whose first byte says so.
#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    version: u8,
    says: T,
}

macro_rules! bodies {
    ($($name:literal, $type:ty, $rewritten:expr;)*) => {
        /// All of them.
        pub(crate) const ALL: &[Body] = &[$(Body { name: $name, rewritten: $rewritten }),*];

        /// Visits the type of what is called so.
        pub(crate) fn visit<V: Visitor>(name: &str, visitor: V) -> Option<V::Out> {
            match name {
                $($name => Some(visitor.visit::<$type>()),)*
                _ => None,
            }
        }
    };
}

bodies! {
    "inventory", Inventory, inventory;
    "groups", Statement, groups;
    "command", Versioned<crate::admin::envelope::Wire>, command;
    "os.admin", Versioned<Message>, message;
    "os.audit", Versioned<Question>, question;
    "os.audit answer", Versioned<Page>, page;
    "os.deliver", Delivery, plain::<Delivery>;
    "os.deliver answer", Answer, plain::<Answer>;
    "os.migrate.start", Start, plain::<Start>;
    "os.migrate.start answer", Result<u64, MigrateError>, plain::<Result<u64, MigrateError>>;
    "os.migrate.offer", Offer, plain::<Offer>;
    "os.migrate.offer answer", Taken, plain::<Taken>;
    "os.migrate.fetch", (u64, u64), plain::<(u64, u64)>;
    "os.migrate.tell", Tell, plain::<Tell>;
    "os.migrate.tell answer", Advice, plain::<Advice>;
    "os.migrate.replay", Replay, plain::<Replay>;
    "os.migrate.replay answer", Replayed, plain::<Replayed>;
    "os.migrate.cutover", Replay, plain::<Replay>;
    "os.migrate.cutover answer", Replayed, plain::<Replayed>;
    "os.migrate.abort", u64, plain::<u64>;
    "os.group.fork", ForkQuestion, plain::<ForkQuestion>;
    "os.group.fork answer", Result<ForkPoint, String>, plain::<Result<ForkPoint, String>>;
    "os.group.state", StateQuestion, plain::<StateQuestion>;
    "os.group.state answer", Option<Vec<u8>>, plain::<Option<Vec<u8>>>;
    "os.group.sync", Push, plain::<Push>;
    "os.group.sync answer", Ack, plain::<Ack>;
    "os.group.poll", PollQuestion, plain::<PollQuestion>;
    "os.group.poll answer", Holding, plain::<Holding>;
}
