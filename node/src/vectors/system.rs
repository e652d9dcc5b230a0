//! What nodes say to each other above the transport: records of what runs where, commands, and the bodies of calls.

use std::marker::PhantomData;

use serde::{Deserializer, Serialize, Serializer, de::DeserializeOwned};

use crate::{
    meshos::bodies::{ALL, Visitor, visit},
    wire,
};

/// The name of everything that is said: what is asked under a call's name, what is answered under it with ` answer`.
pub fn names() -> impl ExactSizeIterator<Item = &'static str> {
    ALL.iter().map(|body| body.name)
}

/// Bytes of this name that a node takes, read and written again. `None` if it takes none such.
pub fn rewritten(name: &str, bytes: &[u8]) -> Option<Vec<u8>> {
    let body = ALL.iter().find(|body| body.name == name)?;
    (body.rewritten)(bytes)
}

/// What bytes of this name say, in another form. `None` if they say nothing.
///
/// # Errors
/// When the other form has no words for it.
pub fn says<S: Serializer>(name: &str, bytes: &[u8], serializer: S) -> Option<Result<S::Ok, S::Error>> {
    struct Says<'a, S>(&'a [u8], S);
    impl<S: Serializer> Visitor for Says<'_, S> {
        type Out = Option<Result<S::Ok, S::Error>>;

        fn visit<T: Serialize + DeserializeOwned>(self) -> Self::Out {
            Some(wire::decode::<T>(self.0).ok()?.serialize(self.1))
        }
    }
    visit(name, Says(bytes, serializer)).flatten()
}

/// The bytes of this name that say what is told in another form. `None` if nothing has this name.
///
/// # Errors
/// When the other form tells something else.
pub fn written<'de, D: Deserializer<'de>>(name: &str, deserializer: D) -> Option<Result<Vec<u8>, D::Error>> {
    struct Written<'de, D>(D, PhantomData<&'de ()>);
    impl<'de, D: Deserializer<'de>> Visitor for Written<'de, D> {
        type Out = Result<Vec<u8>, D::Error>;

        fn visit<T: Serialize + DeserializeOwned>(self) -> Self::Out {
            Ok(wire::encode(&T::deserialize(self.0)?))
        }
    }
    visit(name, Written(deserializer, PhantomData))
}
