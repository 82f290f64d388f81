//! Conversion from the protocol's types to the JSON types, field by field.
//!
//! A trait of this crate's own, because `From` cannot be implemented for `Option<T>`
//! and `Vec<T>` of other types.

use bytes::Bytes;

/// Made from what the protocol carries.
pub(crate) trait FromWire<W> {
    /// Converts; every value of the protocol has a JSON form.
    fn from_wire(wire: W) -> Self;
}

macro_rules! unchanged {
    ($($type:ty),*) => {$(
        impl FromWire<$type> for $type {
            fn from_wire(wire: $type) -> Self {
                wire
            }
        }
    )*};
}

unchanged!(String, bool, u32, u64, i64);

impl FromWire<Bytes> for String {
    /// PEM is ASCII; what is not is shown, not refused.
    fn from_wire(wire: Bytes) -> Self {
        Self::from_utf8_lossy(&wire).into_owned()
    }
}

impl<T: FromWire<W>, W> FromWire<Option<W>> for Option<T> {
    fn from_wire(wire: Option<W>) -> Self {
        wire.map(T::from_wire)
    }
}

impl<T: FromWire<W>, W> FromWire<Vec<W>> for Vec<T> {
    fn from_wire(wire: Vec<W>) -> Self {
        wire.into_iter().map(T::from_wire).collect()
    }
}

/// Declares a JSON type with the fields of a message, and its conversion.
///
/// A field of the message that is not named is left out of the JSON on purpose.
macro_rules! mirror {
    ($(
        $(#[$meta:meta])*
        $name:ident = $wire:ty {
            $( $(#[$field_meta:meta])* $field:ident: $type:ty, )*
        }
    )*) => {$(
        $(#[$meta])*
        #[derive(
            Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize,
            utoipa::ToSchema,
        )]
        #[serde(default)]
        pub struct $name {
            $( $(#[$field_meta])* pub $field: $type, )*
        }

        impl $crate::api::types::FromWire<$wire> for $name {
            fn from_wire(wire: $wire) -> Self {
                Self { $( $field: $crate::api::types::FromWire::from_wire(wire.$field), )* }
            }
        }
    )*};
}

/// Declares a JSON enum of lower-case words with the values of one of the protocol's
/// enums. A number that this build does not know becomes the first word.
macro_rules! mirror_enum {
    ($(
        $(#[$meta:meta])*
        $name:ident = $wire:ty {
            $unknown:ident,
            $( $(#[$variant_meta:meta])* $variant:ident, )*
        }
    )*) => {$(
        $(#[$meta])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize,
            utoipa::ToSchema,
        )]
        #[serde(rename_all = "snake_case")]
        pub enum $name {
            /// Not said.
            #[default]
            $unknown,
            $( $(#[$variant_meta])* $variant, )*
        }

        impl $crate::api::types::FromWire<i32> for $name {
            fn from_wire(wire: i32) -> Self {
                match <$wire>::try_from(wire) {
                    $( Ok(<$wire>::$variant) => Self::$variant, )*
                    _ => Self::$unknown,
                }
            }
        }
    )*};
}

pub(super) use {mirror, mirror_enum};
