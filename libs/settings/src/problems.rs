use std::fmt;

/// Everything that is wrong with a program's settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems {
    messages: Vec<String>,
}

impl Problems {
    /// Notes one more.
    pub fn add(&mut self, message: impl Into<String>) {
        self.messages.push(message.into());
    }

    /// Puts the others in front, since they were found earlier.
    pub fn prepend(&mut self, others: Problems) {
        self.messages.splice(0..0, others.messages);
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Each in a sentence, in the order in which they were found.
    pub fn messages(&self) -> &[String] {
        &self.messages
    }
}

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.messages.len();
        write!(f, "{n} problem{} with the settings:", if n == 1 { "" } else { "s" })?;
        self.messages.iter().try_for_each(|message| write!(f, "\n  - {message}"))
    }
}

/// `, did you mean X?` for the known name that is nearest to an unknown one, if one is near.
pub fn suggestion<'a>(unknown: &str, known: impl Iterator<Item = &'a str>) -> String {
    let nearest = known.map(|name| (distance(unknown, name), name)).min();
    match nearest {
        Some((distance, name)) if distance <= unknown.len().max(3) / 3 => format!(", did you mean {name}?"),
        _ => String::new(),
    }
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
