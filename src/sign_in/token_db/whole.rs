//! Whether the files of a LevelDB are whole. The library that reads them leaves out what it cannot read, and says nothing: a damaged
//! database would be imported as one that is empty.

use rusty_leveldb::Compressor as _;
use rusty_leveldb::compressor::SnappyCompressor;

/// The bytes of a log's blocks, of what stands before each part of a record, and behind each block of a table.
const BLOCK: usize = 32 * 1024;
const HEADER: usize = 7;
const TRAILER: usize = 5;
/// What ends a table: where its two indexes are, and by what it is known as a table.
const FOOTER: usize = 48;
const MAGIC: [u8; 8] = 0xdb47_7524_8b80_fb57_u64.to_le_bytes();

/// What is wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Damage {
    /// It was cut off.
    #[error("it breaks off")]
    BrokenOff,
    /// Something in it was changed.
    #[error("a checksum in it is wrong")]
    Checksum,
    /// It is something else.
    #[error("it is not written as such a file is")]
    Unreadable,
}

/// A log, as which the list of tables is written, too: parts of records, each with a checksum, none of which reaches into the next block.
///
/// # Errors
/// What is wrong with it. A last record that is not whole is wrong, too: a length that was changed looks like one.
pub(super) fn check_log(bytes: &[u8]) -> Result<(), Damage> {
    let mut is_within = false;
    for block in bytes.chunks(BLOCK) {
        let mut rest = block;
        // Where no header has room any more, the block is filled up.
        while !rest.is_empty() && rest.len().saturating_add(BLOCK.saturating_sub(block.len())) >= HEADER {
            let (header, behind) = rest.split_first_chunk::<HEADER>().ok_or(Damage::BrokenOff)?;
            let [a, b, c, d, low, high, kind] = *header;
            let (data, next) =
                behind.split_at_checked(usize::from(u16::from_le_bytes([low, high]))).ok_or(Damage::BrokenOff)?;
            check_sum(crc32c::crc32c_append(crc32c::crc32c(&[kind]), data), [a, b, c, d])?;
            is_within = match (is_within, kind) {
                // A whole record, or the last part of one.
                (false, 1) | (true, 4) => false,
                // The first part, or one in the middle.
                (false, 2) | (true, 3) => true,
                (false | true, _) => return Err(Damage::Unreadable),
            };
            rest = next;
        }
    }
    if is_within { Err(Damage::BrokenOff) } else { Ok(()) }
}

/// A table: blocks, each with a checksum, and an index that says where they are.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check_table(bytes: &[u8]) -> Result<(), Damage> {
    let (blocks, footer) =
        bytes.len().checked_sub(FOOTER).and_then(|at| bytes.split_at_checked(at)).ok_or(Damage::BrokenOff)?;
    if !footer.ends_with(&MAGIC) {
        return Err(Damage::Unreadable);
    }
    let (about, footer) = handle(footer).ok_or(Damage::Unreadable)?;
    let (index, _) = handle(footer).ok_or(Damage::Unreadable)?;
    block_at(blocks, about)?;
    let index = block_at(blocks, index)?;
    for place in values(&index).ok_or(Damage::Unreadable)? {
        let (place, _) = handle(place).ok_or(Damage::Unreadable)?;
        block_at(blocks, place)?;
    }
    Ok(())
}

/// Where a block begins, and how long it is.
type Place = (usize, usize);

/// The block there, as it was before it was packed.
fn block_at(blocks: &[u8], (at, length): Place) -> Result<Vec<u8>, Damage> {
    let whole = blocks.get(at..).ok_or(Damage::BrokenOff)?;
    let (data, behind) = whole.split_at_checked(length).ok_or(Damage::BrokenOff)?;
    let ([packed, a, b, c, d], _) = behind.split_first_chunk::<TRAILER>().ok_or(Damage::BrokenOff)?;
    check_sum(crc32c::crc32c_append(crc32c::crc32c(data), &[*packed]), [*a, *b, *c, *d])?;
    match packed {
        0 => Ok(data.to_vec()),
        1 => SnappyCompressor.decode(data.to_vec()).map_err(|_| Damage::Unreadable),
        _ => Err(Damage::Unreadable),
    }
}

/// Holds a checksum against the one that is written, in the form that LevelDB gives it there.
fn check_sum(found: u32, written: [u8; 4]) -> Result<(), Damage> {
    let masked = found.rotate_right(15).wrapping_add(0xa282_ead8);
    if masked.to_le_bytes() == written { Ok(()) } else { Err(Damage::Checksum) }
}

/// The values of a block, whose keys are of no interest here.
fn values(block: &[u8]) -> Option<Vec<&[u8]>> {
    let (body, count) = block.split_last_chunk::<4>()?;
    let restarts = usize::try_from(u32::from_le_bytes(*count)).ok()?.checked_mul(4)?;
    let (mut rest, _) = body.split_at_checked(body.len().checked_sub(restarts)?)?;
    let mut values = Vec::new();
    while !rest.is_empty() {
        let (_shared, behind) = number(rest)?;
        let (own, behind) = number(behind)?;
        let (length, behind) = number(behind)?;
        let (_key, behind) = behind.split_at_checked(own)?;
        let (value, behind) = behind.split_at_checked(length)?;
        values.push(value);
        rest = behind;
    }
    Some(values)
}

fn handle(bytes: &[u8]) -> Option<(Place, &[u8])> {
    let (at, behind) = number(bytes)?;
    let (length, behind) = number(behind)?;
    Some(((at, length), behind))
}

/// A number in seven bits a byte, the lowest first.
fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut number = 0_u64;
    for (at, byte) in bytes.iter().enumerate().take(9) {
        number |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((usize::try_from(number).ok()?, bytes.get(at.saturating_add(1)..)?));
        }
    }
    None
}
