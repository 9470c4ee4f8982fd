//! Topics of a request, as they stand in records, and what is known of topics that go by their ids.
//!
//! Bounds: [`IDS_MAX`] names by id, [`BYTES_MAX`] bytes of names in a record, [`SESSION_TOPICS_MAX`] topics of a fetch session.

use std::borrow::Cow;

use super::layout::{Id, Said};
use crate::known::{self, Known};
use crate::resource::BYTES_MAX;

/// Names that are known by id; one that is new takes the place of the oldest.
const IDS_MAX: usize = 1024;
/// Of a longer session not all topics are known.
const SESSION_TOPICS_MAX: usize = 64;

/// What a connection has told of topics.
#[derive(Debug, Default)]
pub struct Topics {
    /// The names by id, in the order in which they were learnt, from `oldest` on around.
    names: Vec<(Id, Box<str>)>,
    oldest: usize,
    /// What other connections have told.
    pub known: Known,
    /// Of the fetch session, which goes on where nothing is said of them; None if it is not known.
    session: Option<Vec<Topic>>,
}

/// A topic, as a request names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topic {
    Name(Box<str>),
    Id(Id),
}

impl Topic {
    pub fn of(said: Said<'_>) -> Option<Self> {
        match said {
            Said::Name(name) => Some(Self::Name(name.into())),
            Said::Id(id) => Some(Self::Id(id)),
            _ => None,
        }
    }
}

impl Topics {
    pub fn learn(&mut self, id: Id, name: &str) {
        self.known.learn(known::Id::Topic(id), name);
        if let Some((_, known)) = self.names.iter_mut().find(|(known, _)| *known == id) {
            if &**known != name {
                *known = name.into();
            }
        } else if self.names.len() < IDS_MAX {
            self.names.push((id, name.into()));
        } else {
            self.names[self.oldest] = (id, name.into());
            self.oldest = (self.oldest + 1) % IDS_MAX;
        }
    }

    /// Fetches of the session were missed.
    pub fn forget_session(&mut self) {
        self.session = None;
    }

    /// All that a fetch of a session asks for, and whether that is known. Its first one (epoch 0) names all, later ones only what has changed.
    pub fn fetch(&mut self, epoch: i32, named: Vec<Topic>, named_all: bool, forgets: bool) -> (Vec<Topic>, bool) {
        if epoch <= 0 {
            let is_session = epoch == 0 && named_all && named.len() <= SESSION_TOPICS_MAX;
            self.session = is_session.then(|| named.clone());
            return (named, named_all);
        }
        // Whether all partitions of a topic were forgotten is not known here.
        match self.session.take().filter(|_| named_all && !forgets) {
            Some(mut topics) => {
                for topic in named {
                    if !topics.contains(&topic) {
                        topics.push(topic);
                    }
                }
                self.session = (topics.len() <= SESSION_TOPICS_MAX).then(|| topics.clone());
                (topics, true)
            }
            None => (named, false),
        }
    }

    /// The topics in one text, each once: names, and ids in digits where the name is not known. It ends with `...` where those are not all.
    pub fn text(&self, topics: &[Topic], are_all: bool) -> Box<str> {
        const MORE: &str = "...";
        let mut text = String::new();
        let mut are_all = are_all;
        for (at, topic) in topics.iter().enumerate() {
            if topics[..at].contains(topic) {
                continue;
            }
            let name = match topic {
                Topic::Name(name) => Cow::Borrowed(&**name),
                Topic::Id(id) => self.name(id),
            };
            if text.len() + name.len() + 2 + MORE.len() > BYTES_MAX {
                are_all = false;
                break;
            }
            if !text.is_empty() {
                text.push(',');
            }
            text.push_str(&name);
        }
        if !are_all {
            if !text.is_empty() {
                text.push(',');
            }
            text.push_str(MORE);
        }
        text.into()
    }

    fn name(&self, id: &Id) -> Cow<'_, str> {
        match self.names.iter().find(|(known, _)| known == id) {
            Some((_, name)) => Cow::Borrowed(name),
            None => match self.known.get(known::Id::Topic(*id)) {
                Some(name) => Cow::Owned((*name).to_owned()),
                None => Cow::Owned(uuid(id)),
            },
        }
    }

    pub fn heap_bytes(&self) -> usize {
        let names: usize = self.names.iter().map(|(_, name)| name.len()).sum();
        let session = self.session.as_ref().map_or(0, |topics| topics.capacity() * (size_of::<Topic>() + 249));
        self.names.capacity() * size_of::<(Id, Box<str>)>() + names + session
    }
}

/// As Kafka's tools write ids: base64 for URLs, without padding.
fn uuid(id: &Id) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let bits = u128::from_be_bytes(*id);
    // The last digit holds two bits of the id and four that are 0.
    (0..22u32)
        .map(|digit| {
            let six = if digit < 21 { bits >> (122 - 6 * digit) } else { bits << 4 };
            char::from(DIGITS[(six & 63) as usize])
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_written_as_kafka_does() {
        // What Kafka's own `Uuid.toString` gives for these.
        assert_eq!(uuid(&[0xff; 16]), "_____________________w");
        assert_eq!(uuid(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]), "AAAAAAAAAAAAAAAAAAAAAQ");
    }

    #[test]
    fn what_is_learnt_has_a_bound() {
        let mut topics = Topics::default();
        for number in 0..10 * IDS_MAX as u128 {
            topics.learn(number.to_be_bytes(), "orders");
        }
        assert_eq!(topics.names.len(), IDS_MAX);
        let newest = Topic::Id((10 * IDS_MAX as u128 - 1).to_be_bytes());
        assert_eq!(&*topics.text(&[newest], true), "orders");
    }

    #[test]
    fn a_long_list_says_that_it_is_cut() {
        let many: Vec<Topic> = (0..100).map(|number| Topic::Name(format!("topic-{number}").into())).collect();
        let text = Topics::default().text(&many, true);
        assert!(text.len() <= BYTES_MAX && text.ends_with(",..."), "{text}");
    }
}
