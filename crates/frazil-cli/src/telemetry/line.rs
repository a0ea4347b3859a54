//! Log lines that stay one line, whatever is in them: nobody outside can write a line of ours.
//!
//! What others say (a catalog's error, a client's header) may have line breaks. The subscriber hands over one event at a time,
//! with one line break at its end; every other one is written as `\n`, and what terminals act on as `\x1b` and the like.

use std::io::{self, Write};

/// Escapes control characters within what is written at once.
#[derive(Debug)]
pub(super) struct OneLine<W>(pub(super) W);

impl<W: Write> Write for OneLine<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let (line, end) = match event.strip_suffix(b"\n") {
            Some(line) => (line, &b"\n"[..]),
            None => (event, &b""[..]),
        };
        if line.iter().any(|byte| breaks(*byte)) {
            self.0.write_all(&[escaped(line).as_slice(), end].concat())?;
        } else {
            self.0.write_all(event)?;
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Control characters but the tab: line breaks, and what a terminal takes for a command.
fn breaks(byte: u8) -> bool {
    byte.is_ascii_control() && byte != b'\t'
}

fn escaped(line: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(line.len() + 16);
    for byte in line {
        match byte {
            b'\n' => escaped.extend_from_slice(b"\\n"),
            b'\r' => escaped.extend_from_slice(b"\\r"),
            byte if breaks(*byte) => escaped.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
            byte => escaped.push(*byte),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("not poisoned").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'w> MakeWriter<'w> for Kept {
        type Writer = OneLine<Self>;

        fn make_writer(&'w self) -> OneLine<Self> {
            OneLine(self.clone())
        }
    }

    /// What is logged of a text that tries to write a line of its own, as a field and as the message.
    fn logged(hostile: &str, json: bool) -> String {
        let kept = Kept::default();
        let builder = tracing_subscriber::fmt().with_writer(kept.clone()).with_ansi(false);
        let log = || {
            tracing::info!(display = %hostile, debug = ?hostile, plain = hostile, "it said {hostile}");
        };
        if json {
            tracing::subscriber::with_default(builder.json().finish(), log);
        } else {
            tracing::subscriber::with_default(builder.finish(), log);
        }
        let bytes = kept.0.lock().expect("not poisoned").clone();
        String::from_utf8(bytes).expect("UTF-8")
    }

    #[test]
    fn an_event_is_one_line() {
        let hostile = "x\n2026-01-01T00:00:00Z ERROR all is lost\r\nx\u{1b}[2Jx\0x\u{b}x\u{c}";
        for json in [false, true] {
            let text = logged(hostile, json);
            let line = text.strip_suffix('\n').expect("a whole line");
            assert!(!line.chars().any(char::is_control), "{line:?}");
            assert!(line.contains("all is lost"), "nothing is left out: {line}");
        }
    }

    #[test]
    fn what_has_no_breaks_is_written_as_it_is() {
        let mut kept = Vec::new();
        OneLine(&mut kept).write_all("plain ü\n".as_bytes()).expect("memory");
        OneLine(&mut kept).write_all(b"no end").expect("memory");
        assert_eq!(kept, "plain ü\nno end".as_bytes());
    }
}
