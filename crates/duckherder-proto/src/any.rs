//! Packing our messages into `google.protobuf.Any`, as Flight SQL packs its own.

use arrow_flight::sql::Any;
use prost::Message;
use prost::bytes::Bytes;

/// A message with the type URL under which it travels.
pub trait Command: Message + Default {
    const TYPE_URL: &'static str;

    /// The message packed into an `Any` and encoded, ready for a ticket, a descriptor or an action body.
    fn pack(&self) -> Bytes {
        Any { type_url: Self::TYPE_URL.to_string(), value: self.encode_to_vec().into() }.encode_to_vec().into()
    }

    /// The message inside `any`, or `None` if it holds another kind.
    ///
    /// # Errors
    /// The bytes are not what the type URL says.
    fn from_any(any: &Any) -> Result<Option<Self>, prost::DecodeError> {
        if any.type_url == Self::TYPE_URL { Self::decode(any.value.clone()).map(Some) } else { Ok(None) }
    }
}

/// The names of our messages. The version goes up with every change that a peer which does not know it would get wrong:
/// it then refuses the message, as one that it does not know.
macro_rules! command {
    ($($message:ident),+ $(,)?) => {
        $(impl $crate::any::Command for $message {
            const TYPE_URL: &'static str = concat!("type.googleapis.com/duckherder.v4.", stringify!($message));
        })+
    };
}
pub(crate) use command;
