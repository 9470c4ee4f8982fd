//! A topic by its handle: librdkafka finds one that is named among all others under a lock, for each message.

use std::ffi::{CString, c_void};
use std::ptr::NonNull;

use rdkafka::ClientContext;
use rdkafka::bindings::{
    RD_KAFKA_MSG_F_COPY, rd_kafka_last_error, rd_kafka_produce, rd_kafka_topic_destroy, rd_kafka_topic_new,
    rd_kafka_topic_t,
};
use rdkafka::client::Client;
use rdkafka::types::RDKafkaErrorCode;

/// A topic of a client. It must go before its client does.
pub struct TopicHandle(NonNull<rd_kafka_topic_t>);

// SAFETY: librdkafka's functions may be called by any thread, and by several at a time.
unsafe impl Send for TopicHandle {}
// SAFETY: as above.
unsafe impl Sync for TopicHandle {}

impl TopicHandle {
    /// # Errors
    /// If the name is none that a topic can have.
    pub fn new<C: ClientContext>(client: &Client<C>, topic: &str) -> Result<TopicHandle, RDKafkaErrorCode> {
        let name = CString::new(topic).map_err(|_| RDKafkaErrorCode::InvalidTopic)?;
        // SAFETY: the client lives, the name ends with a zero and is copied, and null stands for the client's settings.
        let handle = unsafe { rd_kafka_topic_new(client.native_ptr(), name.as_ptr(), std::ptr::null_mut()) };
        NonNull::new(handle).map(TopicHandle).ok_or_else(last_error)
    }

    /// Hands a message over, of which librdkafka makes a copy.
    pub fn produce(
        &self,
        partition: i32,
        key: &[u8],
        value: &[u8],
        opaque: *mut c_void,
    ) -> Result<(), RDKafkaErrorCode> {
        // SAFETY: the handle lives as long as this; key and value are read during the call, and the value is not written although its type
        // would allow it, since it is copied (RD_KAFKA_MSG_F_COPY).
        let result = unsafe {
            rd_kafka_produce(
                self.0.as_ptr(),
                partition,
                RD_KAFKA_MSG_F_COPY,
                value.as_ptr().cast_mut().cast(),
                value.len(),
                key.as_ptr().cast(),
                key.len(),
                opaque,
            )
        };
        if result == 0 { Ok(()) } else { Err(last_error()) }
    }
}

/// Why the last call of this thread failed.
fn last_error() -> RDKafkaErrorCode {
    // SAFETY: it has no preconditions.
    unsafe { rd_kafka_last_error() }.into()
}

impl Drop for TopicHandle {
    fn drop(&mut self) {
        // SAFETY: the handle came from librdkafka and is given back once.
        unsafe { rd_kafka_topic_destroy(self.0.as_ptr()) };
    }
}
