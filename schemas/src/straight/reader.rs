//! Bytes become values: each type asks for what it is made of, in order.

use serde::de::value::U64Deserializer;
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess,
    Visitor,
};

use super::Error;

/// The most bytes of a number.
const LONG_BYTES_MAX: usize = 10;

/// Reads a value, and gives what stands behind it.
///
/// # Errors
/// If the bytes end too early, or are none that a writer with the schema of this type writes.
pub fn read<'de, T: Deserialize<'de>>(datum: &'de [u8]) -> Result<(T, &'de [u8]), Error> {
    let mut reader = Reader { left: datum };
    let value = T::deserialize(&mut reader)?;
    Ok((value, reader.left))
}

struct Reader<'de> {
    left: &'de [u8],
}

impl<'de> Reader<'de> {
    /// Seven bits a byte, the lowest first, then zigzag.
    #[inline]
    fn long(&mut self) -> Result<i64, Error> {
        let mut value = 0_u64;
        for (index, &byte) in self.left.iter().take(LONG_BYTES_MAX).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                if index + 1 == LONG_BYTES_MAX && byte > 1 {
                    return Err(Error::new("a number has more than 64 bits"));
                }
                self.left = &self.left[index + 1..];
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        Err(Error::new("a number does not end"))
    }

    fn bytes(&mut self, count: usize) -> Result<&'de [u8], Error> {
        let (bytes, left) = self
            .left
            .split_at_checked(count)
            .ok_or_else(|| Error::new(format!("{count} bytes are told of, and {} left", self.left.len())))?;
        self.left = left;
        Ok(bytes)
    }

    fn text(&mut self) -> Result<&'de str, Error> {
        let count = self.count()?;
        std::str::from_utf8(self.bytes(count)?).map_err(|error| Error::new(error.to_string()))
    }

    fn count(&mut self) -> Result<usize, Error> {
        usize::try_from(self.long()?).map_err(|_| Error::new("a length is below 0"))
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (bytes, left) = self.left.split_first_chunk().ok_or_else(|| Error::new("the bytes end within a number"))?;
        self.left = left;
        Ok(*bytes)
    }
}

macro_rules! number {
    ($($method:ident $visit:ident $type:ty;)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            let long = self.long()?;
            visitor.$visit(<$type>::try_from(long).map_err(|_| Error::new(format!("{long} is no {}", stringify!($type))))?)
        })*
    };
}

macro_rules! none {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
            Err(Error::new(concat!("nothing is read by ", stringify!($method))))
        })*
    };
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = Error;

    number! {
        deserialize_i32 visit_i32 i32;
        deserialize_i64 visit_i64 i64;
    }

    none! {
        deserialize_any deserialize_i8 deserialize_i16 deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_f32 deserialize_char
        deserialize_unit deserialize_identifier deserialize_ignored_any
    }

    fn is_human_readable(&self) -> bool {
        false
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.fixed()? {
            [0] => visitor.visit_bool(false),
            [1] => visitor.visit_bool(true),
            [other] => Err(Error::new(format!("a boolean is {other}"))),
        }
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_f64(f64::from_le_bytes(self.fixed()?))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_borrowed_str(self.text()?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_borrowed_str(self.text()?)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let count = self.count()?;
        visitor.visit_borrowed_bytes(self.bytes(count)?)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_bytes(visitor)
    }

    /// A union of null and something, in this order.
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.long()? {
            0 => visitor.visit_none(),
            1 => visitor.visit_some(self),
            other => Err(Error::new(format!("a union of two is of its type {other}"))),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(Blocks { reader: self, left: 0 })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_map(Blocks { reader: self, left: 0 })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, count: usize, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(Fields { reader: self, left: count })
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        count: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_tuple(count, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_tuple(fields.len(), visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let symbol = self.count()?;
        if symbol >= variants.len() {
            return Err(Error::new(format!("an enum of {} is {symbol}", variants.len())));
        }
        visitor.visit_enum(Symbol(symbol as u64))
    }
}

/// Fields of a record.
struct Fields<'r, 'de> {
    reader: &'r mut Reader<'de>,
    left: usize,
}

impl<'de> SeqAccess<'de> for Fields<'_, 'de> {
    type Error = Error;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(&mut *self.reader).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// Items of an array or a map, which come in blocks.
struct Blocks<'r, 'de> {
    reader: &'r mut Reader<'de>,
    /// Of this block.
    left: u64,
}

impl Blocks<'_, '_> {
    /// Whether there is another item.
    fn goes_on(&mut self) -> Result<bool, Error> {
        if self.left == 0 {
            let count = self.reader.long()?;
            if count < 0 {
                // Its size in bytes, for those who skip it.
                self.reader.long()?;
            }
            self.left = count.unsigned_abs();
        }
        if self.left == 0 {
            return Ok(false);
        }
        self.left -= 1;
        Ok(true)
    }
}

impl<'de> SeqAccess<'de> for Blocks<'_, 'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        if self.goes_on()? { seed.deserialize(&mut *self.reader).map(Some) } else { Ok(None) }
    }

    /// Each item has a byte at least.
    fn size_hint(&self) -> Option<usize> {
        Some((self.left as usize).min(self.reader.left.len()))
    }
}

impl<'de> MapAccess<'de> for Blocks<'_, 'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        if self.goes_on()? { seed.deserialize(&mut *self.reader).map(Some) } else { Ok(None) }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        seed.deserialize(&mut *self.reader)
    }
}

/// One of an enum's symbols.
struct Symbol(u64);

impl<'de> EnumAccess<'de> for Symbol {
    type Error = Error;
    type Variant = Symbol;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Symbol), Error> {
        let place: U64Deserializer<Error> = self.0.into_deserializer();
        Ok((seed.deserialize(place)?, self))
    }
}

impl<'de> VariantAccess<'de> for Symbol {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _: T) -> Result<T::Value, Error> {
        Err(Error::new("a symbol holds nothing"))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Error> {
        Err(Error::new("a symbol holds nothing"))
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], _: V) -> Result<V::Value, Error> {
        Err(Error::new("a symbol holds nothing"))
    }
}
