//! What is in the pages: the number of the transaction that wrote them, random bytes, and SQLite's header in page 1.
//! And how two images of a page are compared.

use crate::oracle::{Number, Sum};
use crate::world::World;
use seawall::format::ids::PageSize;
use seawall::format::new_pages::page_checksum;
use seawall::format::sqlite_header::HEADER;
use std::ops::Range;

/// The bytes of a page in a file that stock SQLite made, and in a new database.
pub(crate) const PAGE: usize = 512;
/// The offsets in page 1 of the page size, the write version and the read version behind it, the change counter, the
/// page count, and the counter for which that count is valid.
const PAGE_SIZE: Range<usize> = 16..18;
const WRITE_VERSION: usize = 18;
pub(crate) const CHANGE_COUNTER: Range<usize> = 24..28;
pub(crate) const PAGE_COUNT: Range<usize> = 28..32;
pub(crate) const VERSION_VALID_FOR: Range<usize> = 92..96;

/// Where a transaction writes its number, the page's number and random bytes: behind the header that page 1 has.
const NUMBER: Range<usize> = HEADER..HEADER + 8;
const PAGE_NUMBER: Range<usize> = HEADER + 8..HEADER + 12;
const RANDOM: Range<usize> = HEADER + 12..HEADER + 64;

/// Change counters of transactions begin here, behind those of stock SQLite.
const COUNTERS_BEGIN: u64 = 1_000_000;

/// Page 1 of a new file of stock SQLite's, of one page.
pub(crate) fn first_page(world: &World) -> Vec<u8> {
    let mut page = vec![0; PAGE];
    world.random_bytes(&mut page[HEADER..]);
    put_header(&mut page, PAGE, 0);
    page[PAGE_COUNT].copy_from_slice(&1_u32.to_be_bytes());
    page
}

fn put_header(page: &mut [u8], size: usize, counter: u32) {
    page[..16].copy_from_slice(b"SQLite format 3\0");
    page[PAGE_SIZE].copy_from_slice(&(size as u16).to_be_bytes());
    page[WRITE_VERSION..=WRITE_VERSION + 1].fill(1);
    put_counter(page, counter);
}

/// Gives a file another change counter.
pub(crate) fn put_counter(page: &mut [u8], counter: u32) {
    for field in [CHANGE_COUNTER, VERSION_VALID_FOR] {
        page[field].copy_from_slice(&counter.to_be_bytes());
    }
}

/// The transaction `number`'s content of `page`. `header_size` is the page size that the header in page 1 names.
pub(crate) fn image(world: &World, number: Number, page: u32, size: PageSize, header_size: PageSize) -> Vec<u8> {
    let mut image = vec![0; size.bytes()];
    if page == 1 {
        // A checkpoint raises a counter by 1. So no two files at NAME have the same one.
        put_header(&mut image, header_size.bytes(), (COUNTERS_BEGIN + 2 * number) as u32);
    }
    image[NUMBER].copy_from_slice(&number.to_le_bytes());
    image[PAGE_NUMBER].copy_from_slice(&page.to_le_bytes());
    world.random_bytes(&mut image[RANDOM]);
    image
}

/// The number in a page that a transaction wrote.
pub(crate) fn number_in(image: &[u8]) -> Number {
    u64::from_le_bytes(image[NUMBER].try_into().expect("eight bytes"))
}

/// A page's content, without the bytes in which an adoption or a checkpoint protects the file.
pub(crate) fn sum_of(page: u32, image: &[u8]) -> Sum {
    if page != 1 {
        return page_checksum(image);
    }
    let mut image = image.to_vec();
    image[WRITE_VERSION..=WRITE_VERSION + 1].fill(0);
    put_counter(&mut image, 0);
    page_checksum(&image)
}

/// The sums of all pages of a file of stock SQLite's.
pub(crate) fn sums_of(bytes: &[u8]) -> Vec<Sum> {
    (1..).zip(bytes.chunks(PAGE)).map(|(page, image)| sum_of(page, image)).collect()
}
