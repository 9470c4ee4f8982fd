//! Connections that come from HTTP/1.1 (RFC 7540, 3.2).

use headwater_protocols::{Direction, Options, Parser, Recognition, Side};

use crate::calls::Calls;
use crate::wire::*;

const ASKED: &[u8] =
    b"GET /a?token=secret HTTP/1.1\r\nHost: shop.example\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
    HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n";
const AGREED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";

struct Upgraded {
    parser: Parser,
    told: Told,
    calls: Calls,
}

impl Upgraded {
    fn new() -> Upgraded {
        let parser = Parser::new(Side::Server, &Options::default());
        Upgraded { parser, told: Told::default(), calls: Calls::from(0, 0) }
    }

    fn say(&mut self, direction: Direction, bytes: &[&[u8]]) -> &mut Upgraded {
        let bytes = bytes.concat();
        let segment = self.calls.moved(direction, &bytes, usize::MAX);
        self.parser.segment(direction, &segment, &mut |event| self.told.take(event));
        self
    }

    fn request(&mut self, bytes: &[&[u8]]) -> &mut Upgraded {
        self.say(Direction::Request, bytes)
    }

    fn response(&mut self, bytes: &[&[u8]]) -> &mut Upgraded {
        self.say(Direction::Response, bytes)
    }

    #[track_caller]
    fn expect(&mut self, seen: &[&str]) {
        self.parser.close(self.calls.now_ns + 10, FINISHED, &mut |event| self.told.take(event));
        assert_eq!(self.told.seen, seen, "{:?}", self.told.losses);
    }
}

#[test]
fn the_answer_to_the_upgrade_is_that_of_stream_1() {
    let settings = frame(SETTINGS, 0, 0, b"");
    let answer = [frame(HEADERS, END_HEADERS, 1, b"\x88"), frame(DATA, END_STREAM, 1, b"secret")].concat();
    // In one call with what agrees, behind it, and before the client has said anything else.
    for pieces in
        [vec![[AGREED, &settings, &answer].concat()], vec![AGREED.to_vec(), [&settings[..], &answer].concat()]]
    {
        let mut wire = Upgraded::new();
        wire.request(&[ASKED]);
        pieces.iter().for_each(|piece| _ = wire.response(&[piece]));
        assert_eq!(wire.parser.recognition(), Recognition::Recognised);
        wire.request(&[PREFACE, &settings, &frame(HEADERS, ALL, 3, &get("/b"))]);
        wire.response(&[&frame(HEADERS, ALL, 3, b"\x8d")]);
        assert_eq!(wire.told.evidence[0], "shop.example");
        let [asked, answered] = wire.told.details[0].bytes;
        assert_eq!((asked, answered), (ASKED.len() as u64, answer.len() as u64));
        wire.expect(&["http2 GET /a Ok 200", "http2 GET /b ClientError 404"]);
        assert!(wire.told.losses.is_empty(), "{:?}", wire.told.losses);
    }
    // It has not come when the connection ends.
    let mut wire = Upgraded::new();
    wire.request(&[ASKED]).response(&[AGREED, &settings]).request(&[PREFACE, &settings]);
    wire.expect(&["http2 GET /a no_response"]);
}

#[test]
fn what_the_body_of_the_upgrade_names_is_told() {
    let body = r#"{"operationName":"GetUser"}"#;
    let head = "POST /graphql HTTP/1.1\r\nHost: shop.example\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n\
                HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\nContent-Type: application/json\r\n";
    let settings = frame(SETTINGS, 0, 0, b"");
    let mut wire = Upgraded::new();
    wire.request(&[format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes()]);
    wire.response(&[AGREED, &settings, &frame(HEADERS, ALL, 1, b"\x88")]).request(&[PREFACE, &settings]);
    wire.expect(&["http2 POST /graphql GetUser Ok 200"]);
}

#[test]
fn an_upgrade_that_is_refused_or_to_something_else_is_one_of_http1() {
    let mut wire = Upgraded::new();
    wire.request(&[ASKED]).response(&[b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"]);
    wire.expect(&["http GET /a Ok 200"]);
    let mut wire = Upgraded::new();
    wire.request(&[b"GET /a HTTP/1.1\r\nHost: shop.example\r\nUpgrade: other\r\nConnection: Upgrade\r\n\r\n"]);
    let settings = frame(SETTINGS, 0, 0, b"");
    wire.response(&[b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: other\r\n\r\n", &settings]);
    assert_eq!(wire.parser.recognition(), Recognition::Foreign);
    wire.expect(&["http GET /a Ok 101"]);
}
