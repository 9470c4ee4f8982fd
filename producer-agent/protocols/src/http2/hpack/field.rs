//! The few header fields that exchanges tell of, and nothing of the others.

use std::sync::Arc;

use crate::trace::{Carrier, Evidence};

/// One field, without what nobody asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    Method(Text),
    /// Without query and fragment. `is_cut`: it was longer than the bound.
    Path {
        path: Text,
        is_cut: bool,
    },
    Status(u16),
    ContentType(Content),
    /// [`GRPC_STATUS_NONE`] if it is no number.
    GrpcStatus(u16),
    /// Without who asks; of bounded length.
    Authority(Text),
    /// As it was sent, where it is one; else empty.
    Trace(Carrier, Text),
    /// Another of those that begin a request.
    OfRequest,
    Other,
}

/// What a content type says of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    Grpc,
    Json,
    Other,
}

pub const GRPC_STATUS_NONE: u16 = u16::MAX;

/// What a name says of its field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    Method,
    Path,
    Status,
    ContentType,
    GrpcStatus,
    Authority,
    Trace(Carrier),
    OfRequest,
    Other,
}

/// A short text, shared where it is not one of the well-known ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Text {
    Static(&'static str),
    Shared(Arc<str>),
}

impl Text {
    pub fn of(text: &str) -> Self {
        if text.is_empty() { Self::Static("") } else { Self::Shared(Arc::from(text)) }
    }

    pub fn as_str(&self) -> &str {
        match self {
            Self::Static(text) => text,
            Self::Shared(text) => text,
        }
    }

    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Static(_) => 0,
            // Two counts of references stand before the text.
            Self::Shared(text) => text.len() + 2 * size_of::<usize>(),
        }
    }
}

impl Name {
    pub fn of(name: &[u8]) -> Self {
        match name {
            b":method" => Self::Method,
            b":path" => Self::Path,
            b":status" => Self::Status,
            b"content-type" => Self::ContentType,
            b"grpc-status" => Self::GrpcStatus,
            b":authority" => Self::Authority,
            b":scheme" | b":protocol" => Self::OfRequest,
            _ => Carrier::of(name).map_or(Self::Other, Self::Trace),
        }
    }
}

impl Field {
    pub fn name(&self) -> Name {
        match self {
            Self::Method(_) => Name::Method,
            Self::Path { .. } => Name::Path,
            Self::Status(_) => Name::Status,
            Self::ContentType(_) => Name::ContentType,
            Self::GrpcStatus(_) => Name::GrpcStatus,
            Self::Authority(_) => Name::Authority,
            Self::Trace(carrier, _) => Name::Trace(*carrier),
            Self::OfRequest => Name::OfRequest,
            Self::Other => Name::Other,
        }
    }

    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Method(text) | Self::Path { path: text, .. } | Self::Authority(text) | Self::Trace(_, text) => {
                text.heap_bytes()
            }
            _ => 0,
        }
    }
}

/// What one header block says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Fields {
    pub method: Option<Text>,
    pub path: Option<Text>,
    pub path_is_cut: bool,
    pub status: Option<u16>,
    pub content: Option<Content>,
    pub grpc_status: Option<u16>,
    pub authority: Option<Text>,
    pub trace: Evidence,
    /// A field of those that begin a request.
    pub is_request: bool,
    /// There are fields of which not even the name is known.
    pub has_hidden: bool,
    /// One of them may be of those that stand first, whose names begin with a colon.
    pub has_hidden_first: bool,
    has_regular: bool,
}

impl Fields {
    pub fn add(&mut self, field: &Field) {
        match field {
            Field::Method(method) => _ = self.method.get_or_insert_with(|| method.clone()),
            Field::Path { path, is_cut } => {
                if self.path.is_none() {
                    (self.path, self.path_is_cut) = (Some(path.clone()), *is_cut);
                }
            }
            Field::Status(status) => _ = self.status.get_or_insert(*status),
            Field::ContentType(content) => _ = self.content.get_or_insert(*content),
            Field::GrpcStatus(status) => _ = self.grpc_status.get_or_insert(*status),
            Field::Authority(authority) => _ = self.authority.get_or_insert_with(|| authority.clone()),
            Field::Trace(carrier, sent) => self.trace.add(*carrier, sent.as_str().as_bytes()),
            Field::OfRequest | Field::Other => {}
        }
        self.is_request |=
            matches!(field, Field::Method(_) | Field::Path { .. } | Field::Authority(_) | Field::OfRequest);
        self.has_regular |=
            matches!(field, Field::ContentType(_) | Field::GrpcStatus(_) | Field::Trace(..) | Field::Other);
    }

    /// None if the content type is not known, or there is none.
    pub fn is_grpc(&self) -> Option<bool> {
        self.content.map(|content| content == Content::Grpc)
    }

    pub fn hide(&mut self) {
        self.has_hidden = true;
        self.has_hidden_first |= !self.has_regular;
    }

    /// Whether such a field may be there and was not seen. There is no more than one of each.
    pub fn may_have(&self, is_first: bool) -> bool {
        if is_first { self.has_hidden_first } else { self.has_hidden }
    }
}
