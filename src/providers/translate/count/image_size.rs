//! Width and height of an image, from the first bytes of a PNG, JPEG, GIF or WebP file.

/// In pixels. Nothing for any other format, for what ends before it says its size, and for a size of zero.
pub fn of(bytes: &[u8]) -> Option<(u32, u32)> {
    let size = match bytes {
        [0x89, b'P', b'N', b'G', ..] => (big(bytes, 16, 4)?, big(bytes, 20, 4)?),
        [b'G', b'I', b'F', b'8', ..] => (little(bytes, 6, 2)?, little(bytes, 8, 2)?),
        [0xff, 0xd8, ..] => jpeg(bytes)?,
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => webp(bytes)?,
        _ => return None,
    };
    (size.0 > 0 && size.1 > 0).then_some(size)
}

/// Goes from segment to segment until the one that begins the picture.
fn jpeg(bytes: &[u8]) -> Option<(u32, u32)> {
    let mut at = 2;
    loop {
        if *bytes.get(at)? != 0xff {
            return None;
        }
        match *bytes.get(at + 1)? {
            // Fill bytes, and markers without a length.
            0xff => at += 1,
            0x01 | 0xd0..=0xd8 => at += 2,
            // Start of frame, of any kind; the rest of this row are tables.
            0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => {
                return Some((big(bytes, at + 7, 2)?, big(bytes, at + 5, 2)?));
            }
            _ => at += 2 + usize::try_from(big(bytes, at + 2, 2)?).ok()?.max(2),
        }
    }
}

fn webp(bytes: &[u8]) -> Option<(u32, u32)> {
    match bytes.get(12..16)? {
        b"VP8 " => Some((little(bytes, 26, 2)? & 0x3fff, little(bytes, 28, 2)? & 0x3fff)),
        b"VP8L" => {
            let bits = little(bytes, 21, 4)?;
            Some(((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1))
        }
        b"VP8X" => Some((little(bytes, 24, 3)? + 1, little(bytes, 27, 3)? + 1)),
        _ => None,
    }
}

/// `length` bytes from `start` on as one number, the most significant first.
fn big(bytes: &[u8], start: usize, length: usize) -> Option<u32> {
    Some(bytes.get(start..start + length)?.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
}

fn little(bytes: &[u8], start: usize, length: usize) -> Option<u32> {
    Some(bytes.get(start..start + length)?.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte)))
}

/// The beginning of a PNG file of that size.
#[cfg(test)]
pub fn png(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    bytes.extend(width.to_be_bytes());
    bytes.extend(height.to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_format_says_its_size() {
        let jpeg = b"\xff\xd8\xff\xe0\x00\x04ab\xff\xff\xc4\x00\x02\xff\xc2\x00\x11\x08\x01\x02\x03\x04";
        let cases: [(&[u8], (u32, u32)); 6] = [
            (&png(800, 600), (800, 600)),
            (b"GIF89a\x20\x03\x58\x02", (800, 600)),
            (jpeg, (0x0304, 0x0102)),
            (b"RIFF....WEBPVP8 ....\0\0\0\x9d\x01\x2a\x20\x03\x58\x02", (800, 600)),
            (b"RIFF....WEBPVP8L....\x2f\x1f\xc3\x95\x00", (800, 600)),
            (b"RIFF....WEBPVP8X....\0\0\0\0\x1f\x03\0\x57\x02\0", (800, 600)),
        ];
        for (bytes, size) in cases {
            assert_eq!(of(bytes), Some(size), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn a_file_cut_anywhere_or_of_another_kind_has_no_size() {
        let whole = b"\xff\xd8\xff\xe0\x00\x04ab\xff\xc2\x00\x11\x08\x01\x02\x03\x04";
        for end in 0..whole.len() {
            assert_eq!(of(&whole[..end]), None, "{end}");
        }
        for bytes in [&b"BM....."[..], b"", b"\xff\xd8\xff\xe0\x00\x00\xff", b"RIFF....WEBPVP9 ", &png(0, 5)] {
            assert_eq!(of(bytes), None, "{}", bytes.escape_ascii());
        }
    }
}
