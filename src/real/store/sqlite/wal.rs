//! A look at the log before SQLite opens it. SQLite takes the log up to the first frame that is damaged and drops the rest
//! without a word: right for the torn end that a power cut leaves, wrong for a damage before commits that were acknowledged.
//! The two differ: a transaction is written only after the one before it was synced, so behind a torn one there is nothing.
//!
//! Layout: <https://www.sqlite.org/fileformat2.html#the_write_ahead_log>.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::Path;

use super::super::StoreError;
use super::beside;
use super::fault::Faults;
use super::files::io_error;

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

/// Refuses a log that is damaged before its last transaction.
pub fn check(path: &Path) -> Result<(), StoreError> {
    let log = beside(path, "-wal");
    let file = match File::open(&log) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(io_error(&log, "opening it", &e)),
    };
    let damage = find_damage(&mut BufReader::with_capacity(1 << 16, file));
    match damage.map_err(|e| io_error(&log, "reading it", &e))? {
        None => Ok(()),
        Some(offset) => {
            let what = "the checksum does not fit, and acknowledged commits lie behind it".to_owned();
            Err(Faults::new(&log).corrupt(&format!("byte {offset}"), what))
        }
    }
}

/// Offset of the first damaged frame, if whole transactions of the same log follow behind its own.
fn find_damage(log: &mut impl Read) -> std::io::Result<Option<u64>> {
    let mut header = [0; HEADER];
    if !fill(log, &mut header)? {
        return Ok(None);
    }
    let sums = Sums::new(&header);
    let page = word(&header, 8, u32::from_be_bytes) as usize;
    let salts = &header[16..24];
    let mut sum = sums.add((0, 0), &header[..24]);
    if sum != sums.stored(&header, 24) || !page.is_power_of_two() || !(512..=65_536).contains(&page) {
        // The header is synced before the first frame is written, and it lies within one sector: with frames behind it, a
        // bad one is no torn one.
        let mut rest = Vec::new();
        log.take(1 << 20).read_to_end(&mut rest)?;
        return Ok(rest.iter().any(|byte| *byte != 0).then_some(0));
    }
    let mut frame = vec![0; FRAME_HEADER + page];
    let mut offset = HEADER as u64;
    let mut damaged = None;
    let mut transaction_over = false;
    while fill(log, &mut frame)? {
        let mut ours = &frame[8..16] == salts;
        if damaged.is_none() {
            sum = sums.add(sums.add(sum, &frame[..8]), &frame[FRAME_HEADER..]);
            let fits = sum == sums.stored(&frame, 16);
            if !ours || !fits {
                damaged = Some(offset);
            }
            // The sum runs through the whole log: a frame that it fits is of this one, whatever its salts say.
            ours |= fits;
        } else if ours && transaction_over {
            return Ok(damaged);
        }
        if damaged.is_some() && ours {
            transaction_over |= word(&frame, 4, u32::from_be_bytes) != 0;
        }
        offset += frame.len() as u64;
    }
    Ok(None)
}

/// The log's checksum; the byte order of its words is named in the header.
struct Sums(fn([u8; 4]) -> u32);

impl Sums {
    fn new(header: &[u8; HEADER]) -> Sums {
        Sums(if header[3] & 1 == 1 { u32::from_be_bytes } else { u32::from_le_bytes })
    }

    fn add(&self, sum: (u32, u32), bytes: &[u8]) -> (u32, u32) {
        bytes.chunks_exact(8).fold(sum, |(a, b), pair| {
            let a = a.wrapping_add(word(pair, 0, self.0)).wrapping_add(b);
            (a, b.wrapping_add(word(pair, 4, self.0)).wrapping_add(a))
        })
    }

    fn stored(&self, bytes: &[u8], at: usize) -> (u32, u32) {
        (word(bytes, at, u32::from_be_bytes), word(bytes, at + 4, u32::from_be_bytes))
    }
}

fn word(bytes: &[u8], at: usize, order: fn([u8; 4]) -> u32) -> u32 {
    order([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Whether there was enough to fill the buffer.
fn fill(log: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<bool> {
    match log.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(e),
    }
}
