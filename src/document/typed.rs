//! A document read as a type of serde's, as strictly as by [`super::Fields`]: what does not
//! fit is an error with its place, and an unknown key names the nearest one.

use serde::{
    Deserializer as _,
    de::{self, DeserializeOwned, IntoDeserializer, value::StrDeserializer},
};

use super::{
    error::{Fault, shown},
    located::LOCATED,
    refusal::{Error, Message, sentence},
    yaml::{Key, Node, Value, parse},
};

/// Reads one document.
///
/// # Errors
/// As [`parse`], and where the document is no `T`: an unknown key, a missing one, a wrong
/// type, a value that the type itself refuses, a key without a value.
pub fn read<T: DeserializeOwned>(text: &[u8]) -> Result<T, Fault> {
    let node = parse(text)?;
    if !matches!(node.value, Value::Mapping(_)) {
        let found = node.kind();
        return Err(node
            .at
            .fault(format!("the file must be a mapping of sections, found {found}")));
    }
    let reader = Reader { node: &node, place: "" };
    T::deserialize(reader).map_err(|error| {
        let at = error.at.unwrap_or(node.at);
        at.fault(match error.message {
            Message::Whole(text) => text,
            Message::OfSomething(text) => sentence("the file", &text),
        })
    })
}

/// One node, and its dotted place in the document.
#[derive(Clone, Copy)]
struct Reader<'n> {
    node: &'n Node,
    place: &'n str,
}

impl<'n> Reader<'n> {
    fn wrong(&self, wanted: &str) -> Error {
        let found = match &self.node.value {
            Value::Scalar { text, .. } if !text.is_empty() => format!("`{}`", shown(text)),
            _ => self.node.kind().to_owned(),
        };
        self.fault(format!("must be {wanted}, found {found}"))
    }

    fn fault(&self, text: impl Into<String>) -> Error {
        Error::of_something(text).within(self.node.at, self.place)
    }

    fn placed<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        result.map_err(|error| error.within(self.node.at, self.place))
    }

    /// A scalar that is not quoted.
    fn plain(&self) -> Option<&'n str> {
        match &self.node.value {
            Value::Scalar { text, plain: true } => Some(text),
            _ => None,
        }
    }

    fn whole(&self) -> Result<u64, Error> {
        let digits = self
            .plain()
            .filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()));
        let digits = digits.ok_or_else(|| self.wrong("a whole number of 0 or more"))?;
        // `010` is eight to YAML 1.1 and ten to YAML 1.2.
        if digits.len() > 1 && digits.starts_with('0') {
            return Err(self.fault("must be written without leading zeros"));
        }
        digits
            .parse()
            .map_err(|_| self.fault(format!("must be at most {}", u64::MAX)))
    }

    fn text(&self) -> Result<&'n str, Error> {
        let Value::Scalar { text, .. } = &self.node.value else {
            return Err(self.wrong("a string"));
        };
        match self.node.kind() {
            "a string" if text.contains('\0') => Err(self.fault("holds a NUL character")),
            "a string" if text.trim().is_empty() => Err(self.fault("is empty")),
            "a string" => Ok(text.trim()),
            found => Err(self.fault(format!(
                "must be a string, found {found}; write \"{}\" in quotes",
                shown(text)
            ))),
        }
    }

    fn refuse_null(&self) -> Result<(), Error> {
        match self.node.is_null() {
            true => Err(self.fault("is empty; fill it in or remove it")),
            false => Ok(()),
        }
    }
}

/// Numbers that serde asks for by their width; the visitor refuses what is too large.
macro_rules! numbers {
    ($($method:ident)*) => {
        $(fn $method<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.placed(visitor.visit_u64(self.whole()?))
        })*
    };
}

impl<'de> de::Deserializer<'de> for Reader<'_> {
    type Error = Error;

    /// By the type that the core schema gives a scalar (YAML 1.2.2, 10.3.2).
    fn deserialize_any<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.refuse_null()?;
        match (&self.node.value, self.node.kind()) {
            (Value::Sequence(_), _) => self.deserialize_seq(visitor),
            (Value::Mapping(_), _) => self.deserialize_map(visitor),
            (_, "a boolean") => self.deserialize_bool(visitor),
            (_, "a number") => match self.whole() {
                Ok(number) => self.placed(visitor.visit_u64(number)),
                Err(_) => self.deserialize_f64(visitor),
            },
            _ => self.deserialize_str(visitor),
        }
    }

    fn deserialize_bool<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let word = self.plain().map(str::to_ascii_lowercase);
        let value = match word.as_deref() {
            Some("true" | "yes" | "on") => true,
            Some("false" | "no" | "off") => false,
            _ => return Err(self.wrong("true or false")),
        };
        self.placed(visitor.visit_bool(value))
    }

    numbers! {
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
    }

    fn deserialize_f32<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let number = self.plain().and_then(|text| text.parse::<f64>().ok());
        let number = number.filter(|number| number.is_finite());
        self.placed(visitor.visit_f64(number.ok_or_else(|| self.wrong("a number"))?))
    }

    fn deserialize_str<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.placed(visitor.visit_str(self.text()?))
    }

    fn deserialize_string<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_char<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.refuse_null()?;
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: de::Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        if name == LOCATED {
            return self.placed(visitor.visit_seq(WithPlace { reader: self, next: 0 }));
        }
        self.placed(visitor.visit_newtype_struct(self))
    }

    fn deserialize_seq<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let Value::Sequence(items) = &self.node.value else {
            return Err(self.wrong("a list"));
        };
        let items = Items {
            of: self,
            items: items.iter().enumerate(),
        };
        self.placed(visitor.visit_seq(items))
    }

    fn deserialize_tuple<V: de::Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: de::Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.refuse_null()?;
        let Value::Mapping(pairs) = &self.node.value else {
            return Err(self.wrong("a mapping"));
        };
        let pairs = Pairs {
            of: self,
            pairs: pairs.iter(),
            value: None,
        };
        self.placed(visitor.visit_map(pairs))
    }

    fn deserialize_struct<V: de::Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_map(visitor)
    }

    /// A word, or a mapping of one word to what belongs to it.
    fn deserialize_enum<V: de::Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match &self.node.value {
            Value::Mapping(pairs) if pairs.len() == 1 => {
                let (key, node) = &pairs[0];
                let place = below(self.place, &key.text);
                let variant = Variant {
                    key,
                    reader: Reader { node, place: &place },
                };
                self.placed(visitor.visit_enum(variant))
            }
            _ => {
                let word: StrDeserializer<'_, Error> = self.text()?.into_deserializer();
                self.placed(visitor.visit_enum(word))
            }
        }
    }

    fn deserialize_unit<V: de::Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(self.wrong("nothing"))
    }

    fn deserialize_unit_struct<V: de::Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_bytes<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_byte_buf<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_ignored_any<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_any(visitor)
    }
}

/// The place of `key` below another.
fn below(place: &str, key: &str) -> String {
    match place {
        "" => shown(key),
        place => format!("{place}.{}", shown(key)),
    }
}

/// Line, column and value of one node ([`super::Located`]).
struct WithPlace<'n> {
    reader: Reader<'n>,
    next: u8,
}

impl<'de> de::SeqAccess<'de> for WithPlace<'_> {
    type Error = Error;

    fn next_element_seed<S: de::DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        self.next += 1;
        let number = |number: usize| IntoDeserializer::<Error>::into_deserializer(number);
        let at = self.reader.node.at;
        match self.next {
            1 => seed.deserialize(number(at.line)).map(Some),
            2 => seed.deserialize(number(at.column)).map(Some),
            3 => seed.deserialize(self.reader).map(Some),
            _ => Ok(None),
        }
    }
}

struct Items<'n> {
    of: Reader<'n>,
    items: std::iter::Enumerate<std::slice::Iter<'n, Node>>,
}

impl<'de> de::SeqAccess<'de> for Items<'_> {
    type Error = Error;

    fn next_element_seed<S: de::DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let Some((index, node)) = self.items.next() else {
            return Ok(None);
        };
        let place = format!("{}[{index}]", self.of.place);
        let reader = Reader { node, place: &place };
        reader.placed(seed.deserialize(reader)).map(Some)
    }
}

struct Pairs<'n> {
    of: Reader<'n>,
    pairs: std::slice::Iter<'n, (Key, Node)>,
    value: Option<(&'n Key, &'n Node)>,
}

impl<'de> de::MapAccess<'de> for Pairs<'_> {
    type Error = Error;

    fn next_key_seed<S: de::DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let Some((key, node)) = self.pairs.next() else {
            return Ok(None);
        };
        self.value = Some((key, node));
        let name: StrDeserializer<'_, Error> = key.text.as_str().into_deserializer();
        let read = seed.deserialize(name);
        read.map(Some)
            .map_err(|error| error.within(key.at, &below(self.of.place, &key.text)))
    }

    fn next_value_seed<S: de::DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        let Some((key, node)) = self.value.take() else {
            return Err(Error::of_something("has a value without a key"));
        };
        let place = below(self.of.place, &key.text);
        let reader = Reader { node, place: &place };
        // Null stands where it begins, which is after the key: the key is what is seen.
        if node.is_null() {
            return Err(Error::of_something("is empty; fill it in or remove it").within(key.at, &place));
        }
        reader.placed(seed.deserialize(reader))
    }
}

struct Variant<'n> {
    key: &'n Key,
    reader: Reader<'n>,
}

impl<'de, 'n> de::EnumAccess<'de> for Variant<'n> {
    type Error = Error;
    type Variant = Reader<'n>;

    fn variant_seed<S: de::DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Reader<'n>), Error> {
        let name: StrDeserializer<'_, Error> = self.key.text.as_str().into_deserializer();
        let variant = seed
            .deserialize(name)
            .map_err(|error| error.within(self.key.at, self.reader.place));
        Ok((variant?, self.reader))
    }
}

impl<'de> de::VariantAccess<'de> for Reader<'_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        Err(self.wrong("nothing: the word stands alone"))
    }

    fn newtype_variant_seed<S: de::DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Error> {
        self.placed(seed.deserialize(self))
    }

    fn tuple_variant<V: de::Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn struct_variant<V: de::Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        self.deserialize_map(visitor)
    }
}

#[cfg(test)]
#[path = "typed_tests.rs"]
mod tests;
