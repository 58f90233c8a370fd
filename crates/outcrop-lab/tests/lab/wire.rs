//! HTTP/1.1 by hand: what was heard byte for byte, and how the connection ended.

use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
};

use aws_smithy_eventstream::frame::{DecodedFrame, MessageFrameDecoder};
use aws_smithy_types::event_stream::Message;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Fin,
    Reset,
}

/// Everything a connection said.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) bytes: Vec<u8>,
    pub(crate) end: End,
}

/// One connection with one request on it.
pub(crate) struct Talk {
    stream: TcpStream,
    heard: Vec<u8>,
}

impl Talk {
    /// Connects and sends a request that asks for the connection to be closed after the answer.
    pub(crate) async fn begin(
        address: SocketAddr,
        path: &str,
        headers: &[(String, String)],
        body: &str,
    ) -> io::Result<Self> {
        let mut request =
            format!("POST {path} HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
        request.extend(headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")));
        request.push_str("\r\n");
        request.push_str(body);
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request.as_bytes()).await?;
        Ok(Self { stream, heard: Vec::new() })
    }

    /// Reads until the end of the connection.
    pub(crate) async fn finish(mut self) -> Heard {
        loop {
            match self.stream.read_buf(&mut self.heard).await {
                Ok(0) => return Heard { bytes: self.heard, end: End::Fin },
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                    return Heard { bytes: self.heard, end: End::Reset };
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Reads until so many frames have arrived; the connection stays open.
    pub(crate) async fn frames(&mut self, count: usize) -> Vec<Message> {
        loop {
            let so_far = Heard { bytes: self.heard.clone(), end: End::Fin };
            if so_far.bytes.windows(4).any(|window| window == b"\r\n\r\n") && so_far.frames().0.len() >= count
            {
                return so_far.frames().0;
            }
            assert_ne!(self.stream.read_buf(&mut self.heard).await.unwrap(), 0, "ended early");
        }
    }
}

impl Heard {
    pub(crate) fn head(&self) -> String {
        String::from_utf8_lossy(&self.bytes[..self.body_start()]).to_lowercase()
    }

    pub(crate) fn status(&self) -> u16 {
        self.head().split(' ').nth(1).unwrap().parse().unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.head().lines().find_map(|line| line.strip_prefix(&format!("{name}: ")).map(str::to_owned))
    }

    fn body_start(&self) -> usize {
        let at = self.bytes.windows(4).position(|window| window == b"\r\n\r\n");
        at.map_or(self.bytes.len(), |at| at + 4)
    }

    /// The body as far as it came, and whether it ended as HTTP says.
    pub(crate) fn body(&self) -> (Vec<u8>, bool) {
        let raw = &self.bytes[self.body_start()..];
        if let Some(length) = self.header("content-length") {
            return (raw.to_vec(), raw.len() == length.parse::<usize>().unwrap());
        }
        let mut body = Vec::new();
        let mut rest = raw;
        while let Some(line) = rest.windows(2).position(|window| window == b"\r\n") {
            let size = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).unwrap();
            if size == 0 {
                return (body, true);
            }
            let chunk = &rest[line + 2..];
            body.extend_from_slice(&chunk[..size.min(chunk.len())]);
            rest = chunk.get(size + 2..).unwrap_or_default();
        }
        (body, false)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body().0).unwrap()
    }

    /// The complete frames, and what is left over or wrong after them.
    pub(crate) fn frames(&self) -> (Vec<Message>, Result<usize, String>) {
        let body = self.body().0;
        let mut rest = &body[..];
        let mut frames = Vec::new();
        loop {
            let before = rest.len();
            match MessageFrameDecoder::new().decode_frame(&mut rest) {
                Ok(DecodedFrame::Complete(message)) => frames.push(message),
                Ok(DecodedFrame::Incomplete) => return (frames, Ok(before)),
                Err(error) => return (frames, Err(error.to_string())),
            }
        }
    }
}

/// A header of a frame.
pub(crate) fn header(frame: &Message, name: &str) -> String {
    let found = frame.headers().iter().find(|header| header.name().as_str() == name);
    found.map_or_else(String::new, |header| header.value().as_string().unwrap().as_str().to_owned())
}

/// The types of frames in order.
pub(crate) fn event_types(frames: &[Message]) -> Vec<String> {
    frames.iter().map(|frame| header(frame, ":event-type")).collect()
}

/// A frame's payload.
pub(crate) fn payload(frame: &Message) -> Value {
    serde_json::from_slice(frame.payload()).unwrap()
}
