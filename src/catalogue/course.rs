//! The way of one sweep through a registry's catalog: that it comes to an end, whatever the registry says.

use super::registry::CatalogPage;

/// The most repositories of one registry.
const MOST_REPOSITORIES: usize = 2_000_000;
/// The most pages of one catalog: so many repositories, where a registry gives only a hundred at once.
const MOST_PAGES: usize = 20_000;

/// How far one sweep has come. A registry that lies leads it on for ever: with pages of nothing, with names that can be none, or back to
/// where it was.
#[derive(Clone, Debug)]
pub(super) struct Course {
    pages: usize,
    /// All names that were listed, whether or not they can be one.
    listed: usize,
    /// Whether each page began behind the one before, by the bytes of the names.
    by_bytes: bool,
    /// The same by their parts, of which a registry goes through its folders.
    by_parts: bool,
}

impl Course {
    /// A sweep that found so many repositories before it was interrupted.
    pub(super) fn from_found(found: i64) -> Course {
        Course { pages: 0, listed: usize::try_from(found).unwrap_or(0), by_bytes: true, by_parts: true }
    }

    /// Whether it comes closer to the end by this page, which begins behind `from`.
    pub(super) fn goes_on(&mut self, from: Option<&str>, page: &CatalogPage) -> bool {
        self.pages = self.pages.saturating_add(1);
        self.listed = self.listed.saturating_add(page.listed);
        let is_nearer = match (from, &page.next) {
            (_, None) => true,
            (_, Some(_)) if page.listed == 0 => false,
            (None, Some(_)) => true,
            (Some(from), Some(next)) => {
                self.by_bytes &= from < next.as_str();
                self.by_parts &= parts(from).lt(parts(next));
                self.by_bytes || self.by_parts
            }
        };
        is_nearer && self.pages <= MOST_PAGES && self.listed <= MOST_REPOSITORIES
    }
}

/// A name in the order of its parts: the slash comes before all else.
fn parts(name: &str) -> impl Iterator<Item = u8> {
    name.bytes().map(|byte| if byte == b'/' { 0 } else { byte })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(listed: usize, next: Option<&str>) -> CatalogPage {
        CatalogPage { names: Vec::new(), listed, next: next.map(str::to_owned) }
    }

    /// Whether each page of these names goes on.
    fn course(names: &[&str]) -> bool {
        let mut course = Course::from_found(0);
        let mut from = None;
        names.iter().all(|next| {
            let goes_on = course.goes_on(from, &page(1, Some(next)));
            from = Some(*next);
            goes_on
        })
    }

    #[test]
    fn pages_follow_each_other_in_one_order() {
        for (names, expected) in [
            (&["a", "b", "c"][..], true),
            (&["z"], true),
            (&["a-b", "a/b"], true),
            (&["a/b", "a-b"], true),
            (&["a/b", "a-b", "a.b", "a0"], true),
            // Round and round between both orders.
            (&["a/b", "a-b", "a/b"], false),
            (&["a", "a"], false),
            (&["b", "a"], false),
            (&["a", "b", "a"], false),
        ] {
            assert_eq!(course(names), expected, "{names:?}");
        }
    }

    #[test]
    fn a_sweep_ends_after_so_many_pages_and_names() {
        let next = |number: usize| format!("{number:08}");
        let pages = |listed: usize, most: usize| {
            let mut course = Course::from_found(0);
            (0..most).take_while(|number| course.goes_on(None, &page(listed, Some(&next(*number))))).count()
        };
        assert_eq!(pages(1, MOST_PAGES + 10), MOST_PAGES);
        assert_eq!(pages(1000, MOST_PAGES), 2000);
        assert_eq!(pages(0, 10), 0, "a page of nothing leads nowhere");
        assert!(Course::from_found(0).goes_on(Some("a"), &page(0, None)), "the last one may be empty");
        assert!(!Course::from_found(2_000_000).goes_on(Some("a"), &page(1, None)));
    }
}
