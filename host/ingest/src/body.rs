//! The bytes of a request: read and decompressed within bounds.

use crate::{admission::Permit, export::Rejection};
use bytes::{Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use hyper::body::Body;
use std::{io::Read, pin::pin};
use zstd::zstd_safe;

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

/// Smallest step in which the output of a decompression grows.
const STEP_BYTES: usize = 64 << 10;

impl Encoding {
    /// By its name in `content-encoding` or `grpc-encoding`.
    pub(crate) fn from_name(name: &[u8]) -> Result<Self, Rejection> {
        let name = name.trim_ascii();
        for (known, encoding) in [
            (&b"identity"[..], Self::Identity),
            (b"", Self::Identity),
            (b"gzip", Self::Gzip),
            (b"x-gzip", Self::Gzip),
            (b"zstd", Self::Zstd),
        ] {
            if name.eq_ignore_ascii_case(known) {
                return Ok(encoding);
            }
        }
        Err(Rejection::UnknownEncoding(salve_model::text::escape(&String::from_utf8_lossy(name), 40)))
    }
}

/// Reads a whole body of at most `bytes_max`, taking room for each part of it.
pub(crate) async fn read(
    body: impl Body<Data = Bytes>,
    bytes_max: u64,
    permit: &mut Permit,
) -> Result<Bytes, Rejection> {
    let too_large = Rejection::TooLarge { bytes_max };
    if body.size_hint().lower() > bytes_max {
        return Err(too_large);
    }
    let mut body = pin!(body);
    let mut first = Bytes::new();
    let mut joined = BytesMut::new();
    let mut length = 0;
    while let Some(frame) = std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await {
        let Ok(part) = frame.map_err(|_| Rejection::Interrupted)?.into_data() else { continue };
        length += part.len() as u64;
        if length > bytes_max {
            return Err(too_large);
        }
        permit.grow(part.len() as u64)?;
        // One part is the usual case and needs no copy.
        if joined.is_empty() && first.is_empty() {
            first = part;
        } else {
            joined.extend_from_slice(&std::mem::take(&mut first));
            joined.extend_from_slice(&part);
        }
    }
    Ok(if joined.is_empty() { first } else { joined.freeze() })
}

/// Decompresses `bytes` to at most `bytes_max`, taking room for the result as it grows.
pub(crate) fn decompress(
    bytes: Bytes,
    encoding: Encoding,
    bytes_max: u64,
    permit: &mut Permit,
) -> Result<Bytes, Rejection> {
    let limit = usize::try_from(bytes_max).unwrap_or(usize::MAX);
    match encoding {
        Encoding::Identity => Ok(bytes),
        Encoding::Gzip => gunzip(&bytes, limit, permit).map(Bytes::from),
        Encoding::Zstd => unzstd(&bytes, limit, permit).map(Bytes::from),
    }
}

fn gunzip(bytes: &[u8], limit: usize, permit: &mut Permit) -> Result<Vec<u8>, Rejection> {
    let mut decoder = MultiGzDecoder::new(bytes);
    let mut output = Vec::new();
    let mut length = 0;
    loop {
        if length == output.len() {
            // One byte more than the limit, so that what is too long shows.
            let step = output.len().max(STEP_BYTES).min(limit + 1 - output.len());
            if step == 0 {
                return Err(Rejection::TooLarge { bytes_max: limit as u64 });
            }
            permit.grow(step as u64)?;
            output.reserve_exact(step);
            output.resize(output.len() + step, 0);
        }
        let free = output.get_mut(length..).unwrap_or_default();
        match decoder.read(free).map_err(|error| Rejection::malformed("gzip", &error))? {
            0 => break,
            read => length += read,
        }
    }
    output.truncate(length);
    Ok(output)
}

/// In one piece, since then the output is the window: a stream would allocate whatever window the sender names.
fn unzstd(bytes: &[u8], limit: usize, permit: &mut Permit) -> Result<Vec<u8>, Rejection> {
    const OUTPUT_FULL: &str = "Destination buffer is too small";
    let too_large = Rejection::TooLarge { bytes_max: limit as u64 };
    let malformed = |what: &str| Rejection::malformed("zstd", &what);
    let stated = zstd_safe::get_frame_content_size(bytes).map_err(|_| malformed("no zstd frame"))?;
    let mut capacity = match stated.map(usize::try_from) {
        Some(Ok(size)) if size <= limit => size,
        Some(_) => return Err(too_large),
        None => bytes.len().saturating_mul(4).max(STEP_BYTES).min(limit),
    };
    let mut context = zstd_safe::DCtx::try_create().ok_or_else(|| malformed("no memory"))?;
    loop {
        permit.grow(capacity as u64)?;
        let mut output = Vec::with_capacity(capacity);
        match context.decompress(&mut output, bytes).map_err(zstd_safe::get_error_name) {
            Ok(_) => return Ok(output),
            Err(OUTPUT_FULL) if capacity == limit => return Err(too_large),
            Err(OUTPUT_FULL) => capacity = capacity.saturating_mul(2).clamp(STEP_BYTES, limit),
            Err(name) => return Err(malformed(name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{IngestConfig, admission::Admission};
    use proptest::prelude::*;
    use std::io::Write;

    fn compress(bytes: &[u8], encoding: Encoding) -> Bytes {
        match encoding {
            Encoding::Identity => bytes.to_vec().into(),
            Encoding::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap().into()
            }
            // A stream does not state its length.
            Encoding::Zstd => zstd::stream::encode_all(bytes, 1).unwrap().into(),
        }
    }

    fn permit() -> Permit {
        Admission::new(&IngestConfig::default()).enter().unwrap()
    }

    proptest! {
        /// Guarantees: what was compressed comes out again, up to the limit and not one byte beyond.
        #[test]
        fn limit_is_exact(bytes in proptest::collection::vec(0..4u8, 1..200_000)) {
            for encoding in [Encoding::Gzip, Encoding::Zstd] {
                let compressed = compress(&bytes, encoding);
                let length = bytes.len() as u64;
                let whole = decompress(compressed.clone(), encoding, length, &mut permit());
                prop_assert_eq!(whole.unwrap(), &bytes);
                let cut = decompress(compressed, encoding, length - 1, &mut permit());
                prop_assert_eq!(cut, Err(Rejection::TooLarge { bytes_max: length - 1 }));
            }
        }

        /// Guarantees: noise and damage are refused without a panic.
        #[test]
        fn noise_is_refused(noise in proptest::collection::vec(any::<u8>(), 1..100), place in 0..60usize) {
            for encoding in [Encoding::Gzip, Encoding::Zstd] {
                prop_assert!(decompress(noise.clone().into(), encoding, 1 << 20, &mut permit()).is_err());
                let mut damaged = compress(&[7; 5_000], encoding).to_vec();
                let place = place % damaged.len();
                damaged.truncate(place);
                let result = decompress(damaged.into(), encoding, 1 << 20, &mut permit());
                prop_assert!(result.is_err() || place == 0, "{:?}", result);
            }
        }
    }

    /// Scenario: a bomb, 64 MiB of zeros in a few kilobytes, while only 1 MiB is left for all requests.
    /// Guarantees: no more room is taken than there is, and the sender is told to come back.
    #[test]
    fn room_bounds_decompression() {
        let config = IngestConfig { bytes_in_flight_max: 1 << 20, ..IngestConfig::default() };
        for encoding in [Encoding::Gzip, Encoding::Zstd] {
            let admission = Admission::new(&config);
            let bomb = compress(&vec![0; 64 << 20], encoding);
            let result = decompress(bomb, encoding, 128 << 20, &mut admission.enter().unwrap());
            assert_eq!(result, Err(Rejection::Overloaded { retry_after_ms: 1_000 }));
            assert_eq!(admission.bytes(), 0);
        }
    }

    /// Scenario: a zstd frame of a few bytes states a length of 2^60.
    /// Guarantees: nothing of that size is allocated.
    #[test]
    fn stated_length_is_not_believed() {
        let frame = [0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 0, 0, 0, 0x10, 1, 0, 0];
        let result = decompress(Bytes::copy_from_slice(&frame), Encoding::Zstd, 1 << 20, &mut permit());
        assert_eq!(result, Err(Rejection::TooLarge { bytes_max: 1 << 20 }));
    }

    /// Guarantees: names are read as HTTP says, without regard to case; unknown ones are named, escaped.
    #[test]
    fn names_of_encodings() {
        assert_eq!(Encoding::from_name(b"GZip"), Ok(Encoding::Gzip));
        assert_eq!(Encoding::from_name(b" zstd "), Ok(Encoding::Zstd));
        assert_eq!(Encoding::from_name(b"br\x1b"), Err(Rejection::UnknownEncoding("br\\u{1b}".into())));
        assert_eq!(Encoding::from_name(b"gzip, gzip"), Err(Rejection::UnknownEncoding("gzip, gzip".into())));
    }
}
