//! The page's files, which are part of the program.

use std::sync::Arc;

use axum::Router;
use axum::http::HeaderMap;
use axum::routing::get;

use super::encoded::Encoded;

macro_rules! file {
    ($path:literal, $name:literal, $type:literal) => {
        ($path, $type, include_str!(concat!("../../web/", $name)))
    };
}

/// Path, type and content.
const FILES: [(&str, &str, &str); 15] = [
    file!("/", "index.html", "text/html; charset=utf-8"),
    file!("/style.css", "style.css", "text/css; charset=utf-8"),
    file!("/icon.svg", "icon.svg", "image/svg+xml"),
    file!("/main.js", "main.js", "text/javascript; charset=utf-8"),
    file!("/agents.js", "agents.js", "text/javascript; charset=utf-8"),
    file!("/alerts.js", "alerts.js", "text/javascript; charset=utf-8"),
    file!("/details.js", "details.js", "text/javascript; charset=utf-8"),
    file!("/dom.js", "dom.js", "text/javascript; charset=utf-8"),
    file!("/fetch.js", "fetch.js", "text/javascript; charset=utf-8"),
    file!("/format.js", "format.js", "text/javascript; charset=utf-8"),
    file!("/graph.js", "graph.js", "text/javascript; charset=utf-8"),
    file!("/lanes.js", "lanes.js", "text/javascript; charset=utf-8"),
    file!("/layout.js", "layout.js", "text/javascript; charset=utf-8"),
    file!("/operations.js", "operations.js", "text/javascript; charset=utf-8"),
    file!("/status.js", "status.js", "text/javascript; charset=utf-8"),
];

pub fn routes() -> Router {
    FILES.into_iter().fold(Router::new(), |router, (path, content_type, content)| {
        let file = Arc::new(Encoded::new(content_type, content.into()));
        router.route(path, get(move |headers: HeaderMap| async move { file.respond(&headers) }))
    })
}
