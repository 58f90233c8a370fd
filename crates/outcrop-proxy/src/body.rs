//! Bodies: reading a caller's within its limits, and the one type of body that we send.

use std::convert::Infallible;
use std::io::Read;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use outcrop_core::failure::{Code, Failure};

use crate::gateway::Limits;
use crate::patience::Busy;

/// The body of an answer: whole, or pieces as they come. It never fails: an answer that breaks ends
/// with the error of its protocol.
pub struct Body {
    content: Content,
    // The connection is busy until the body is gone.
    busy: Option<Busy>,
}

enum Content {
    /// All of it.
    Whole(Option<Bytes>),
    /// Pieces as they come.
    Stream(Pin<Box<dyn Stream<Item = Bytes> + Send>>),
    /// The MCP endpoint's own.
    Mcp(http_body_util::combinators::BoxBody<Bytes, Infallible>),
}

impl Body {
    /// A whole body.
    pub fn whole(bytes: Bytes) -> Self {
        Self::of(Content::Whole(Some(bytes)))
    }

    /// Pieces as they come; dropping the body ends the exchange.
    pub(crate) fn stream(pieces: impl Stream<Item = Bytes> + Send + 'static) -> Self {
        Self::of(Content::Stream(Box::pin(pieces)))
    }

    /// The MCP endpoint's own.
    pub(crate) fn mcp(body: http_body_util::combinators::BoxBody<Bytes, Infallible>) -> Self {
        Self::of(Content::Mcp(body))
    }

    fn of(content: Content) -> Self {
        Self { content, busy: None }
    }

    /// The same body, which keeps its connection busy.
    pub(crate) fn keeping(mut self, busy: Busy) -> Self {
        self.busy = Some(busy);
        self
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.get_mut().content {
            Content::Whole(bytes) => Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            Content::Stream(pieces) => {
                pieces.as_mut().poll_next(context).map(|piece| piece.map(|b| Ok(Frame::data(b))))
            }
            Content::Mcp(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Whole(bytes) => bytes.is_none(),
            Content::Stream(_) => false,
            Content::Mcp(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Content::Stream(_) => SizeHint::default(),
            Content::Mcp(body) => body.size_hint(),
        }
    }
}

/// Reads a caller's body whole, as it was sent; one that arrives in one piece is not copied.
pub(crate) async fn read(mut body: Incoming, limits: &Limits) -> Result<Bytes, Failure> {
    let announced = body.size_hint().lower();
    if announced > limits.body_bytes_max as u64 {
        return Err(too_large(limits.body_bytes_max));
    }
    let mut first: Option<Bytes> = None;
    let mut gathered = BytesMut::new();
    while let Some(data) = next_piece(&mut body, limits).await? {
        let seen = gathered.len() + first.as_ref().map_or(0, Bytes::len);
        if seen.saturating_add(data.len()) > limits.body_bytes_max {
            return Err(too_large(limits.body_bytes_max));
        }
        if first.is_none() && gathered.is_empty() {
            first = Some(data);
            continue;
        }
        if let Some(head) = first.take() {
            gathered.reserve((announced as usize).max(head.len() + data.len()));
            gathered.extend_from_slice(&head);
        }
        gathered.extend_from_slice(&data);
    }
    Ok(first.unwrap_or_else(|| gathered.freeze()))
}

/// Undoes the content encoding of a body; the limit holds for the bytes after it as well.
pub(crate) fn decode(raw: Bytes, encoding: Option<&str>, limits: &Limits) -> Result<Bytes, Failure> {
    match encoding {
        None => Ok(raw),
        Some("gzip") => inflate(flate2::read::MultiGzDecoder::new(raw.as_ref()), limits.body_bytes_max),
        Some("deflate") => inflate(flate2::read::ZlibDecoder::new(raw.as_ref()), limits.body_bytes_max),
        Some(_) => Err(Failure::refusal(
            Code::InvalidRequest,
            "This content-encoding is not accepted; send the body plain, or as gzip or deflate.",
        )),
    }
}

async fn next_piece(body: &mut Incoming, limits: &Limits) -> Result<Option<Bytes>, Failure> {
    loop {
        let frame = tokio::time::timeout(limits.body_idle_max, body.frame()).await;
        let frame = frame.map_err(|_| {
            Failure::refusal(
                Code::InvalidRequest,
                format!(
                    "The request body stopped arriving for {} s; send it without pauses.",
                    limits.body_idle_max.as_secs()
                ),
            )
        })?;
        match frame {
            None => return Ok(None),
            Some(Err(_)) => return Err(Failure::caller_gone()),
            Some(Ok(frame)) => {
                // Trailers are read and dropped: no API here defines any.
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

fn inflate(reader: impl Read, bytes_max: usize) -> Result<Bytes, Failure> {
    let mut plain = Vec::new();
    let limit = (bytes_max as u64).saturating_add(1);
    reader
        .take(limit)
        .read_to_end(&mut plain)
        .map_err(|_| Failure::refusal(Code::InvalidRequest, "The compressed request body is damaged."))?;
    if plain.len() > bytes_max { Err(too_large(bytes_max)) } else { Ok(plain.into()) }
}

fn too_large(bytes_max: usize) -> Failure {
    Failure::refusal(
        Code::TooLarge,
        format!(
            "The request body is larger than {bytes_max} bytes (after decompression); send less, or \
             raise `limits.body_bytes_max`."
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_compression_bomb_is_cut_at_the_limit() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(&vec![b' '; 1_000_000]).unwrap();
        let bomb = encoder.finish().unwrap();
        assert!(bomb.len() < 2_000);
        let read = |max| inflate(flate2::read::MultiGzDecoder::new(bomb.as_slice()), max);
        assert_eq!(read(999_999).unwrap_err().code, Code::TooLarge);
        assert_eq!(read(1_000_000).unwrap().len(), 1_000_000);
        let damaged = inflate(flate2::read::MultiGzDecoder::new(&bomb[..500]), 1_000_000);
        assert_eq!(damaged.unwrap_err().code, Code::InvalidRequest);
    }
}
