//! The PNG format, as much of it as a picture without transparency needs: eight bits per channel, one compressed block
//! (W3C PNG Specification, third edition, sections 5, 9 and 11).

use std::io::{self, Write};

use flate2::Compression;
use flate2::Crc;
use flate2::write::ZlibEncoder;

/// What a PNG file begins with.
const SIGNATURE: [u8; 8] = [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n'];
/// Colour type 2: red, green, blue.
const TRUE_COLOUR: u8 = 2;

/// A PNG file of `pixels`: red, green, blue, row by row from the top.
///
/// # Errors
/// As the compressor says.
pub fn encode(pixels: &[u8], width: u32, height: u32) -> io::Result<Vec<u8>> {
    let mut header = Vec::new();
    header.extend(width.to_be_bytes());
    header.extend(height.to_be_bytes());
    header.extend([8, TRUE_COLOUR, 0, 0, 0]);
    let mut file = SIGNATURE.to_vec();
    chunk(&mut file, *b"IHDR", &header);
    chunk(&mut file, *b"IDAT", &compressed(pixels, width as usize * 3)?);
    chunk(&mut file, *b"IEND", &[]);
    Ok(file)
}

fn compressed(pixels: &[u8], row: usize) -> io::Result<Vec<u8>> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    for line in pixels.chunks(row) {
        // Filter 0: the bytes as they are. Charts are flat areas, which compress well by themselves.
        encoder.write_all(&[0])?;
        encoder.write_all(line)?;
    }
    encoder.finish()
}

fn chunk(file: &mut Vec<u8>, kind: [u8; 4], data: &[u8]) {
    let mut sum = Crc::new();
    sum.update(&kind);
    sum.update(data);
    file.extend((data.len() as u32).to_be_bytes());
    file.extend(kind);
    file.extend(data);
    file.extend(sum.sum().to_be_bytes());
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn the_file_holds_the_pixels_in_checked_chunks() {
        let pixels = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
        let file = encode(&pixels, 2, 2).unwrap();
        assert_eq!(file[..8], SIGNATURE);
        // The end chunk is the same in every PNG file.
        assert_eq!(file[file.len() - 12..], [0, 0, 0, 0, b'I', b'E', b'N', b'D', 0xae, 0x42, 0x60, 0x82]);
        let start = 8 + 25;
        let length = u32::from_be_bytes(file[start..start + 4].try_into().unwrap()) as usize;
        let mut lines = Vec::new();
        flate2::read::ZlibDecoder::new(&file[start + 8..start + 8 + length]).read_to_end(&mut lines).unwrap();
        assert_eq!(lines, [0, 1, 2, 3, 4, 5, 6, 0, 7, 8, 9, 10, 11, 12]);
    }
}
