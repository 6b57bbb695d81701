//! Where a row repeats what came before.

use super::bytes::{equal_before, equal_len, equal_mask, word, word_starts};
use super::cpu::{Cpu, Found, MASK_BYTES, Work};
use super::tokens::{MATCH_MIN, Tokens};
use super::window::{WINDOW_BYTES, Window};
use super::{Effort, Mark, Row};

/// Shapes that are told apart. A window holds some 40 rows.
const SHAPES: usize = 512;
/// Marks that are kept, of some 30 a row.
const MARKS: usize = 4096;
/// Marks of one row that are looked at, and for how many bytes of it there may be one: each costs
/// time, and a column with its name is longer.
const ROW_MARKS_MAX: usize = 256;
const MARK_BYTES: usize = 8;
/// A column that is not the template's next one is looked for among so many.
const AHEAD: usize = 12;
/// That is given up for a row where it failed so often.
const AHEAD_FAILS_MAX: usize = 8;
/// A row of which so many columns were not found, and one more for so many of its bytes, is taken for
/// one whose marks mean nothing.
const FAILS_LEAST: usize = 8;
const FAIL_BYTES: usize = 64;
/// A stretch begins as far before its column: the end of the value before it may be alike.
const BACK: usize = 16;
/// Places of word starts that are kept. A window has some thousand in what is left over.
const WORDS_BITS: u32 = 12;
/// Bytes that a word start and what follows must have in common with another.
const WORD_BYTES: usize = 6;
/// Shorter matches of words are left alone: they take more time than they save bytes.
const WORD_MATCH_MIN: usize = 7;
/// What is left over is searched from this length on.
const GAP_FAST: usize = 64;
const GAP_DENSE: usize = 8;
/// What is left over at the end of a row or piece is searched at once from this length on, and
/// otherwise with what follows.
const REST_LEAST: usize = 64;
/// Matches of words below this length gain little; where so many come one after the other, as in noise
/// of few letters, what they take is mostly lost, and pieces are passed over as if nothing were found.
const WORD_MATCH_GOOD: usize = 16;
const SHORTS_MAX: usize = 32;
/// At most so many pieces of 64 bytes are passed over in input that does not repeat.
const SKIP_MAX: usize = 15;

/// An earlier row.
#[derive(Debug, Clone, Copy, Default)]
struct Template {
    /// The shape or family that it is kept by.
    key: u32,
    /// Place of its first byte.
    place: u32,
    /// Where its marks are kept.
    marks_at: u32,
    marks_len: u32,
}

/// A part of a row that is compared with what lies at one distance.
#[derive(Debug, Clone, Copy, Default)]
struct Stretch {
    /// Which of its first bytes are equal.
    mask: u64,
    /// Position of the first of them.
    at: u32,
    /// No match begins here or further on.
    to: u32,
    distance: u32,
}

/// The stretches of a row. They are looked up, and their first bytes compared, all before the first
/// is made matches of: what a match depends on is there when its turn comes, and a branch that was
/// guessed wrong costs no waiting for memory.
#[derive(Debug)]
struct Stretches {
    all: Box<[Stretch; STRETCHES]>,
    len: usize,
}

/// A mark makes at most two.
const STRETCHES: usize = 2 * ROW_MARKS_MAX + 2;

impl Stretches {
    fn all(&self) -> &[Stretch] {
        self.all.get(..self.len).unwrap_or_default()
    }

    #[inline(always)]
    fn add(&mut self, cpu: impl Cpu, window: &Window, start: usize, to: usize, distance: u32) {
        let is_near = distance.wrapping_sub(1) < WINDOW_BYTES as u32;
        let at = start.saturating_sub(BACK).max(distance as usize);
        if is_near
            && start < to
            && at < to
            && let Some(stretch) = self.all.get_mut(self.len)
        {
            *stretch = Stretch {
                mask: equal_mask(cpu, window.bytes(), at, at.wrapping_sub(distance as usize)),
                at: at as u32,
                to: to as u32,
                distance,
            };
            self.len = self.len.wrapping_add(1);
        }
    }
}

/// What is known of the rows so far.
#[derive(Debug)]
pub(super) struct Matcher {
    /// The last row of each shape and each family; that of key 0 is of all rows of which none is
    /// known.
    templates: Box<[Template; SHAPES]>,
    /// The last row.
    previous: Template,
    /// Marks of earlier rows; those of one row stand side by side.
    marks: Box<[Mark; MARKS]>,
    marks_at: usize,
    /// Where each column last was.
    columns: [u32; 256],
    stretches: Stretches,
    gaps: Gaps,
    found: Found,
}

/// Where words began, for what the rows' marks leave over.
#[derive(Debug)]
struct Gaps {
    /// What is left over is searched from this length on.
    gap_least: usize,
    /// Places of word starts, by a hash of the word.
    words: Box<[u32; 1 << WORDS_BITS]>,
    /// Bytes up to this position were searched.
    searched: usize,
    /// Pieces of 64 bytes without a match, one after the other.
    misses: usize,
    /// Matches of little gain, one after the other.
    shorts: usize,
    found: Found,
}

struct MatchRow<'m> {
    matcher: &'m mut Matcher,
    window: &'m Window,
    tokens: &'m mut Tokens,
    row: Row<'m>,
}

impl Work for MatchRow<'_> {
    #[inline(always)]
    fn run<C: Cpu>(self, cpu: C) {
        self.matcher.row_on(cpu, self.window, self.tokens, self.row);
    }
}

struct SearchGap<'m> {
    gaps: &'m mut Gaps,
    window: &'m Window,
    tokens: &'m mut Tokens,
    to: usize,
}

impl Work for SearchGap<'_> {
    #[inline(always)]
    fn run<C: Cpu>(self, cpu: C) {
        self.gaps.search_on(cpu, self.window, self.tokens, self.to);
    }
}

/// Where a shape or family is kept.
#[inline(always)]
fn slot(key: u32) -> usize {
    (key.wrapping_mul(0x9e37_79b1) >> (32 - SHAPES.trailing_zeros())) as usize % SHAPES
}

impl Matcher {
    pub(super) fn new(found: Found) -> Self {
        Matcher {
            found,
            templates: Box::new([Template::default(); SHAPES]),
            previous: Template::default(),
            marks: Box::new([Mark(0); MARKS]),
            marks_at: 0,
            columns: [0; 256],
            stretches: Stretches {
                all: Box::new([Stretch::default(); STRETCHES]),
                len: 0,
            },
            gaps: Gaps {
                gap_least: GAP_FAST,
                words: Box::new([0; 1 << WORDS_BITS]),
                searched: 0,
                misses: 0,
                shorts: 0,
                found,
            },
        }
    }

    pub(super) fn set_effort(&mut self, effort: Effort) {
        self.gaps.gap_least = match effort {
            Effort::Fast => GAP_FAST,
            Effort::Dense => GAP_DENSE,
        };
    }

    /// A body begins, of which nothing is known.
    pub(super) fn start(&mut self) {
        self.templates.fill(Template::default());
        self.previous = Template::default();
        self.marks_at = 0;
        self.columns = [0; 256];
        self.gaps.words.fill(0);
        self.start_block();
    }

    /// A block begins, and with it other positions; what was passed over before says nothing of it.
    pub(super) fn start_block(&mut self) {
        self.gaps.searched = 0;
        self.gaps.misses = 0;
        self.gaps.shorts = 0;
    }

    /// Matches in the input's last bytes, which are this row.
    pub(super) fn row(&mut self, window: &Window, tokens: &mut Tokens, row: Row<'_>) {
        self.found.run(MatchRow {
            matcher: self,
            window,
            tokens,
            row,
        });
    }

    #[inline(always)]
    fn row_on(&mut self, cpu: impl Cpu, window: &Window, tokens: &mut Tokens, row: Row<'_>) {
        let len = row.bytes.len();
        let row_at = window.end().wrapping_sub(len);
        let place = window.place(row_at);
        let marks_max = ROW_MARKS_MAX.min(len / MARK_BYTES);
        let marks = row.marks.get(..marks_max).unwrap_or(row.marks);
        let near = |key: u32| {
            let known = self.templates[slot(key)];
            let is_near = place.wrapping_sub(known.place).wrapping_sub(1) < WINDOW_BYTES as u32;
            (known.key == key && is_near).then_some(known)
        };
        let template = near(row.shape)
            .or_else(|| near(row.family))
            .unwrap_or(self.previous);
        let distance = place.wrapping_sub(template.place);
        let from = template.marks_at as usize;
        let theirs = &self.marks[from..from + template.marks_len as usize];
        let at_of = |mark: &Mark| row_at.wrapping_add(mark.at().min(len));
        let (mut ours_at, mut theirs_at) = (0usize, 0usize);
        let (mut start, mut apart) = (row_at, 0u32);
        let mut ahead_max = AHEAD;
        let mut fails = 0usize;
        let fails_max = FAILS_LEAST.wrapping_add(len / FAIL_BYTES);
        let stretches = &mut self.stretches;
        stretches.len = 0;
        loop {
            // marks of equal columns that are as far apart as those before differ by as much
            while let (Some(ours), Some(theirs)) = (marks.get(ours_at), theirs.get(theirs_at))
                && ours.0.wrapping_sub(theirs.0) == apart
            {
                ours_at = ours_at.wrapping_add(1);
                theirs_at = theirs_at.wrapping_add(1);
            }
            let end = marks.get(ours_at).map_or(window.end(), at_of);
            let stretch = distance.wrapping_add((apart as i32 >> 8) as u32);
            stretches.add(cpu, window, start, end, stretch);
            let Some(mark) = marks.get(ours_at).filter(|_| fails < fails_max) else {
                break;
            };
            start = end;
            let ahead = theirs.get(theirs_at..).unwrap_or_default();
            let mut ahead = ahead.iter().take(ahead_max);
            if let Some(found) = ahead.position(|theirs| theirs.column() == mark.column()) {
                theirs_at = theirs_at.wrapping_add(found);
                apart = theirs
                    .get(theirs_at)
                    .map_or(0, |theirs| mark.0.wrapping_sub(theirs.0));
            } else {
                // this column alone, where it was last
                fails = fails.wrapping_add(1);
                ahead_max = if fails < AHEAD_FAILS_MAX { AHEAD } else { 1 };
                ours_at = ours_at.wrapping_add(1);
                let end = marks.get(ours_at).map_or(window.end(), at_of);
                let column = self.columns[usize::from(mark.column())];
                let stretch = window.place(at_of(mark)).wrapping_sub(column);
                stretches.add(cpu, window, start, end, stretch);
                start = end;
            }
        }
        for stretch in self.stretches.all() {
            self.gaps.scan(cpu, window, tokens, *stretch);
        }
        for mark in marks {
            self.columns[usize::from(mark.column())] = window.place(at_of(mark));
        }
        self.keep(row, place, marks);
        self.gaps.search_rest(window, tokens);
    }

    /// Keeps a row as the template of later ones.
    fn keep(&mut self, row: Row<'_>, place: u32, marks: &[Mark]) {
        if self.marks_at + marks.len() > MARKS {
            // what is overwritten of older rows makes their marks wrong, which costs bytes only
            self.marks_at = 0;
        }
        let end = self.marks_at + marks.len();
        self.marks[self.marks_at..end].copy_from_slice(marks);
        self.previous = Template {
            key: 0,
            place,
            marks_at: self.marks_at as u32,
            marks_len: marks.len() as u32,
        };
        self.marks_at = end;
        for key in [row.family, row.shape] {
            self.templates[slot(key)] = Template {
                key,
                ..self.previous
            };
        }
    }

    /// Matches in the input's last bytes, of which nothing is known.
    pub(super) fn plain(&mut self, window: &Window, tokens: &mut Tokens) {
        self.gaps.search_rest(window, tokens);
    }
}

impl Gaps {
    /// Makes matches of all that begins in this stretch and repeats what lies at its distance.
    #[inline(always)]
    fn scan(&mut self, cpu: impl Cpu, window: &Window, tokens: &mut Tokens, stretch: Stretch) {
        let (bytes, end) = (window.bytes(), window.end());
        let (to, distance) = (stretch.to as usize, stretch.distance as usize);
        let (mut at, mut mask) = (stretch.at as usize, stretch.mask);
        let covered = tokens.covered().saturating_sub(at);
        if covered < MASK_BYTES / 2 {
            mask &= u64::MAX << (covered & 63);
        } else {
            at = at.wrapping_add(covered);
            if at >= to {
                return;
            }
            mask = equal_mask(cpu, bytes, at, at.wrapping_sub(distance));
        }
        loop {
            let pairs = mask & mask >> 1;
            // a bit where a run of six begins
            let mut starts = pairs & pairs >> 2 & pairs >> 4;
            if starts == 0 {
                at = at.wrapping_add(MASK_BYTES + 1 - MATCH_MIN);
            }
            while starts != 0 {
                let first = starts.trailing_zeros() as usize;
                let start = at.wrapping_add(first);
                if start >= to {
                    return;
                }
                let ones = (!(mask >> first)).trailing_zeros() as usize;
                let next = first.wrapping_add(ones);
                if next >= MASK_BYTES {
                    let next = start.wrapping_add(ones);
                    let most = end.saturating_sub(next);
                    let from = next.wrapping_sub(distance);
                    let len = ones.wrapping_add(equal_len(cpu, bytes, next, from, most));
                    // bytes behind the end of the input are none
                    let len = len.min(end.wrapping_sub(start));
                    if len < MATCH_MIN {
                        return;
                    }
                    self.push(window, tokens, start, len, distance);
                    // on behind the byte that differs
                    at = start.wrapping_add(len).wrapping_add(1);
                    break;
                }
                let len = ones.min(end.wrapping_sub(start));
                if len < MATCH_MIN {
                    return;
                }
                self.push(window, tokens, start, len, distance);
                starts &= u64::MAX << next;
                if starts == 0 {
                    at = at.wrapping_add(MASK_BYTES + 1 - MATCH_MIN);
                    break;
                }
            }
            if at >= to {
                return;
            }
            mask = equal_mask(cpu, bytes, at, at.wrapping_sub(distance));
        }
    }

    #[inline(always)]
    fn push(
        &mut self,
        window: &Window,
        tokens: &mut Tokens,
        at: usize,
        len: usize,
        distance: usize,
    ) {
        if at.wrapping_sub(tokens.covered()) >= self.gap_least {
            self.search(window, tokens, at);
        }
        tokens.push(window, at, len, distance);
    }

    /// Searches what is left over at the end of the input, if that is long.
    fn search_rest(&mut self, window: &Window, tokens: &mut Tokens) {
        let from = tokens.covered().max(self.searched);
        if window.end() - from >= REST_LEAST {
            self.search(window, tokens, window.end());
        }
    }

    /// Makes matches of words between what is covered and `to`.
    #[inline(never)]
    fn search(&mut self, window: &Window, tokens: &mut Tokens, to: usize) {
        self.found.run(SearchGap {
            gaps: self,
            window,
            tokens,
            to,
        });
    }

    #[inline(always)]
    fn search_on(&mut self, cpu: impl Cpu, window: &Window, tokens: &mut Tokens, to: usize) {
        let bytes = window.bytes();
        let mut at = tokens.covered().max(self.searched);
        self.searched = to;
        'chunks: while at + 8 <= to {
            let mut starts = word_starts(cpu, bytes, at, to - at);
            // not those whose word would reach beyond
            let most = to - 8 - at;
            if most < MASK_BYTES - 1 {
                starts &= (2 << most) - 1;
            }
            while starts != 0 {
                let start = at + starts.trailing_zeros() as usize;
                starts &= starts - 1;
                let here = word(bytes, start) << (64 - 8 * WORD_BYTES);
                let slot = here.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - WORDS_BITS);
                let place = window.place(start);
                let there = std::mem::replace(
                    &mut self.words[slot as usize & ((1 << WORDS_BITS) - 1)],
                    place,
                );
                let distance = place.wrapping_sub(there) as usize;
                if distance.wrapping_sub(1) >= WINDOW_BYTES || distance > start {
                    continue;
                }
                let from = start - distance;
                if word(bytes, from) << (64 - 8 * WORD_BYTES) != here {
                    continue;
                }
                let before = equal_before(bytes, start, from, start - tokens.covered());
                let len = equal_len(cpu, bytes, start, from, to - start);
                if before + len < WORD_MATCH_MIN {
                    continue;
                }
                tokens.push(window, start - before, before + len, distance);
                self.misses = 0;
                at = start + len;
                let is_short = before + len < WORD_MATCH_GOOD;
                self.shorts = if is_short {
                    self.shorts.saturating_add(1)
                } else {
                    0
                };
                at += MASK_BYTES * (self.shorts / SHORTS_MAX).min(SKIP_MAX);
                continue 'chunks;
            }
            self.misses = self.misses.saturating_add(1);
            at += MASK_BYTES * (1 + (self.misses / 8).min(SKIP_MAX));
        }
    }
}
