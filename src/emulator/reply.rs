//! What the emulator answers, before it becomes HTTP.

use serde_json::json;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reply {
    /// Status code.
    pub status: u16,
    /// `Content-Type`; nothing for a body that has none.
    pub content_type: Option<&'static str>,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
    /// Body.
    pub body: Vec<u8>,
}

impl Reply {
    /// A status and nothing else.
    #[must_use]
    pub fn empty(status: u16) -> Self {
        Reply {
            status,
            ..Reply::default()
        }
    }

    /// A JSON body.
    #[must_use]
    pub fn json(status: u16, body: Vec<u8>) -> Self {
        Reply {
            status,
            content_type: Some("application/json; charset=utf-8"),
            headers: Vec::new(),
            body,
        }
    }

    /// Plain text.
    #[must_use]
    pub fn text(status: u16, body: impl Into<String>) -> Self {
        Reply {
            status,
            content_type: Some("text/plain; charset=utf-8"),
            headers: Vec::new(),
            body: body.into().into_bytes(),
        }
    }

    /// The error shape of the ingestion API: `{"error":{"code":…,"message":…}}`, and the code again
    /// in a header.
    #[must_use]
    pub fn error(status: u16, code: &str, message: impl AsRef<str>) -> Self {
        let body = json!({"error": {"code": code, "message": message.as_ref()}});
        Reply::json(status, body.to_string().into_bytes()).with("x-ms-error-code", code)
    }

    /// What a gateway says that knows nothing of the API.
    #[must_use]
    pub fn html(status: u16, reason: &str) -> Self {
        Reply {
            status,
            content_type: Some("text/html"),
            headers: Vec::new(),
            body: format!(
                "<html>\r\n<head><title>{status} {reason}</title></head>\r\n<body>\r\n\
                 <center><h1>{status} {reason}</h1></center>\r\n</body>\r\n</html>\r\n"
            )
            .into_bytes(),
        }
    }

    /// The same with one more header.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}
