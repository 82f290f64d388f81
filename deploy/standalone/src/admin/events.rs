//! Server-sent events, as far as the admin API uses them: names and data.

use http_body_util::BodyExt;

use super::{AdminError, Reply};

/// An event and its data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    pub name: String,
    pub data: String,
}

/// Events as they come.
pub struct Events {
    reply: Reply,
    parser: Parser,
}

impl Events {
    pub(super) fn new(reply: Reply) -> Self {
        Self {
            reply,
            parser: Parser::default(),
        }
    }

    /// The next event; `None` when the API ended the stream.
    ///
    /// # Errors
    /// The connection broke off.
    pub async fn next(&mut self) -> Result<Option<Event>, AdminError> {
        loop {
            if let Some(event) = self.parser.event() {
                return Ok(Some(event));
            }
            match self.reply.response.body_mut().frame().await {
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.parser.push(data);
                    }
                }
                Some(Err(error)) => return Err(AdminError::Broken(error.to_string())),
                None => return Ok(None),
            }
        }
    }
}

/// Takes bytes, gives events; a line may come in pieces.
#[derive(Default)]
struct Parser {
    unread: Vec<u8>,
    event: Event,
}

impl Parser {
    fn push(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
    }

    fn event(&mut self) -> Option<Event> {
        while let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.unread.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\n', '\r']);
            if line.is_empty() {
                let event = std::mem::take(&mut self.event);
                if !event.data.is_empty() {
                    return Some(event);
                }
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => self.event.name = value.to_owned(),
                "data" => {
                    if !self.event.data.is_empty() {
                        self.event.data.push('\n');
                    }
                    self.event.data.push_str(value);
                }
                // Comments keep the connection alive; ids and retry times are not used.
                _ => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_survive_being_cut_anywhere() {
        let text =
            b": keep-alive\n\nevent: closed\r\ndata: {\"id\":\ndata: 1}\n\nid: 7\ndata:x\n\n";
        let expected = [
            Event {
                name: "closed".into(),
                data: "{\"id\":\n1}".into(),
            },
            Event {
                name: String::new(),
                data: "x".into(),
            },
        ];
        for size in 1..text.len() {
            let mut parser = Parser::default();
            let mut events = Vec::new();
            for piece in text.chunks(size) {
                parser.push(piece);
                events.extend(std::iter::from_fn(|| parser.event()));
            }
            assert_eq!(events, expected, "pieces of {size}");
        }
    }
}
