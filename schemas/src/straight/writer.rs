//! Values become bytes: each type hands out what it is made of, in order.

use serde::ser::{Impossible, Serialize, SerializeMap, SerializeSeq, SerializeStruct, Serializer};

use super::Error;

/// The most bytes of a number.
const LONG_BYTES_MAX: usize = 10;

/// Appends the datum of a value.
///
/// # Errors
/// If it is of a kind that no schema here has. Then a part of it may have been written.
pub fn write<T: Serialize + ?Sized>(value: &T, datum: &mut Vec<u8>) -> Result<(), Error> {
    value.serialize(&mut Writer { datum })
}

struct Writer<'d> {
    datum: &'d mut Vec<u8>,
}

impl Writer<'_> {
    /// Zigzag, then seven bits a byte, the lowest first.
    #[inline]
    fn long(&mut self, value: i64) {
        let mut left = ((value << 1) ^ (value >> 63)) as u64;
        if left < 0x80 {
            return self.datum.push(left as u8);
        }
        let (mut bytes, mut length) = ([0; LONG_BYTES_MAX], 0);
        while left >= 0x80 {
            bytes[length] = left as u8 | 0x80;
            left >>= 7;
            length += 1;
        }
        bytes[length] = left as u8;
        self.datum.extend_from_slice(&bytes[..=length]);
    }

    #[inline]
    fn bytes(&mut self, bytes: &[u8]) {
        self.long(bytes.len() as i64);
        self.datum.extend_from_slice(bytes);
    }

    /// The one block of an array or a map. Its end is written by its end.
    fn block(&mut self, count: Option<usize>) -> Result<(), Error> {
        let count = count.ok_or_else(|| Error::new("how many items there are must be known"))?;
        if count > 0 {
            self.long(count as i64);
        }
        Ok(())
    }
}

macro_rules! none {
    ($($method:ident $type:ty;)*) => {
        $(fn $method(self, _: $type) -> Result<(), Error> {
            Err(Error::new(concat!("nothing is written by ", stringify!($method))))
        })*
    };
}

impl<'w, 'd> Serializer for &'w mut Writer<'d> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeTuple = Impossible<(), Error>;
    type SerializeTupleStruct = Impossible<(), Error>;
    type SerializeTupleVariant = Impossible<(), Error>;
    type SerializeStructVariant = Impossible<(), Error>;

    none! {
        serialize_i8 i8;
        serialize_i16 i16;
        serialize_u8 u8;
        serialize_u16 u16;
        serialize_u32 u32;
        serialize_u64 u64;
        serialize_f32 f32;
        serialize_char char;
    }

    fn is_human_readable(&self) -> bool {
        false
    }

    fn serialize_bool(self, value: bool) -> Result<(), Error> {
        self.datum.push(u8::from(value));
        Ok(())
    }

    #[inline]
    fn serialize_i32(self, value: i32) -> Result<(), Error> {
        self.long(i64::from(value));
        Ok(())
    }

    #[inline]
    fn serialize_i64(self, value: i64) -> Result<(), Error> {
        self.long(value);
        Ok(())
    }

    fn serialize_f64(self, value: f64) -> Result<(), Error> {
        self.datum.extend_from_slice(&value.to_le_bytes());
        Ok(())
    }

    #[inline]
    fn serialize_str(self, value: &str) -> Result<(), Error> {
        self.bytes(value.as_bytes());
        Ok(())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), Error> {
        self.bytes(value);
        Ok(())
    }

    /// A union of null and something, in this order.
    fn serialize_none(self) -> Result<(), Error> {
        self.long(0);
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        self.long(1);
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Error> {
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Error> {
        Ok(())
    }

    fn serialize_unit_variant(self, _: &'static str, symbol: u32, _: &'static str) -> Result<(), Error> {
        self.long(i64::from(symbol));
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), Error> {
        Err(Error::new("a symbol holds nothing"))
    }

    fn serialize_seq(self, count: Option<usize>) -> Result<Self, Error> {
        self.block(count)?;
        Ok(self)
    }

    fn serialize_map(self, count: Option<usize>) -> Result<Self, Error> {
        self.block(count)?;
        Ok(self)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Error> {
        Ok(self)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, Error> {
        Err(Error::new("there are no tuples"))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeTupleStruct, Error> {
        Err(Error::new("there are no tuples"))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Error> {
        Err(Error::new("a symbol holds nothing"))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Error> {
        Err(Error::new("a symbol holds nothing"))
    }
}

impl SerializeSeq for &mut Writer<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        value.serialize(&mut **self)
    }

    fn end(self) -> Result<(), Error> {
        self.long(0);
        Ok(())
    }
}

impl SerializeMap for &mut Writer<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        key.serialize(&mut **self)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        value.serialize(&mut **self)
    }

    fn end(self) -> Result<(), Error> {
        self.long(0);
        Ok(())
    }
}

impl SerializeStruct for &mut Writer<'_> {
    type Ok = ();
    type Error = Error;

    #[inline]
    fn serialize_field<T: Serialize + ?Sized>(&mut self, _: &'static str, value: &T) -> Result<(), Error> {
        value.serialize(&mut **self)
    }

    fn end(self) -> Result<(), Error> {
        Ok(())
    }
}
