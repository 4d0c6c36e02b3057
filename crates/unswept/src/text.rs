//! Lines and tables for people: styled pieces of text that are cut, aligned and wrapped before
//! they are painted, so that colour never changes a width.
//!
//! Names and paths come from other processes: every control character in them is replaced, so
//! that none of them can steer the terminal.

/// How a piece of text stands out. Only the terminal's own sixteen colours and no backgrounds: they
/// are readable on light and dark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Style {
    #[default]
    Plain,
    Strong,
    Faint,
    Bad,
    Doubt,
    Good,
}

impl Style {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Strong => "1",
            Self::Faint => "2",
            Self::Bad => "1;31",
            Self::Doubt => "33",
            Self::Good => "32",
        }
    }
}

/// One line of styled pieces.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Line(Vec<(Style, String)>);

impl From<&str> for Line {
    fn from(text: &str) -> Self {
        Self::default().with(Style::Plain, text)
    }
}

impl From<String> for Line {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl Line {
    /// A line of one piece.
    pub(crate) fn new(style: Style, text: impl AsRef<str>) -> Self {
        Self::default().with(style, text)
    }

    /// The line with one more piece.
    pub(crate) fn with(mut self, style: Style, text: impl AsRef<str>) -> Self {
        self.push(style, text);
        self
    }

    /// Adds a piece.
    pub(crate) fn push(&mut self, style: Style, text: impl AsRef<str>) {
        let harmless = |c: char| if c.is_control() { '\u{fffd}' } else { c };
        let text: String = text.as_ref().chars().map(harmless).collect();
        if !text.is_empty() {
            self.0.push((style, text));
        }
    }

    /// Adds all pieces of another line.
    pub(crate) fn append(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Characters.
    pub(crate) fn width(&self) -> usize {
        self.0.iter().map(|(_, text)| text.chars().count()).sum()
    }

    /// The line at most `width` characters wide; what was cut ends in `…`.
    pub(crate) fn cut(mut self, width: usize) -> Self {
        if self.width() <= width {
            return self;
        }
        let mut left = width.saturating_sub(1);
        for (_, text) in &mut self.0 {
            let kept: String = text.chars().take(left).collect();
            left -= kept.chars().count();
            *text = kept;
        }
        if width > 0 {
            let style = self.0.iter().rfind(|(_, text)| !text.is_empty());
            let style = style.map_or(Style::Plain, |(style, _)| *style);
            self.push(style, "…");
        }
        self
    }

    /// The line as text, without spaces at its end; with escape codes if `colour`.
    pub(crate) fn paint(&self, colour: bool) -> String {
        let mut out = String::new();
        for (style, text) in &self.0 {
            match style.code() {
                code if colour && !code.is_empty() => {
                    out.push_str(&format!("\x1b[{code}m{text}\x1b[0m"));
                }
                _ => out.push_str(text),
            }
        }
        out.truncate(out.trim_end_matches(' ').len());
        out
    }
}

/// A column of a table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    head: &'static str,
    right: bool,
    /// It may be cut down to this width.
    least: Option<usize>,
    /// Left out where there is no room: the highest first; 0 stays.
    spare: u8,
}

impl Column {
    /// Text, to the left.
    pub(crate) const fn text(head: &'static str) -> Self {
        Self {
            head,
            right: false,
            least: None,
            spare: 0,
        }
    }

    /// Figures, to the right.
    pub(crate) const fn figure(head: &'static str) -> Self {
        Self {
            head,
            right: true,
            least: None,
            spare: 0,
        }
    }

    /// The column, cut down to `least` characters where there is no room.
    pub(crate) const fn least(self, least: usize) -> Self {
        Self {
            least: Some(least),
            ..self
        }
    }

    /// The column, left out where there is no room: the highest `order` first.
    pub(crate) const fn spare(self, order: u8) -> Self {
        Self {
            spare: order,
            ..self
        }
    }
}

/// A table as lines: heads, then the rows. `width` is the room there is; without one nothing is
/// cut. Empty cells are shown as `-`.
pub(crate) fn table(columns: &[Column], rows: &[Vec<Line>], width: Option<usize>) -> Vec<Line> {
    let natural: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(i, column)| {
            let cells = rows.iter().filter_map(|row| row.get(i)).map(Line::width);
            cells
                .chain([column.head.chars().count(), 1])
                .max()
                .unwrap_or(1)
        })
        .collect();
    let shown = fit(columns, &natural, width.unwrap_or(usize::MAX));
    let heads = columns
        .iter()
        .map(|c| Line::new(Style::Faint, c.head))
        .collect();
    let dashed = |row: &Vec<Line>| -> Vec<Line> {
        let dash = |i: usize| match row.get(i).filter(|cell| cell.width() > 0) {
            Some(cell) => cell.clone(),
            None => Line::new(Style::Faint, "-"),
        };
        (0..columns.len()).map(dash).collect()
    };
    std::iter::once(heads)
        .chain(rows.iter().map(dashed))
        .map(|row| align(columns, &shown, &row).cut(width.unwrap_or(usize::MAX)))
        .collect()
}

/// Which columns are shown, and how wide.
fn fit(columns: &[Column], natural: &[usize], width: usize) -> Vec<(usize, usize)> {
    let mut shown: Vec<usize> = (0..columns.len()).collect();
    loop {
        let least = |i: usize| {
            columns[i]
                .least
                .map_or(natural[i], |least| least.min(natural[i]))
        };
        let gaps = 2 * shown.len().saturating_sub(1);
        let mut widths: Vec<(usize, usize)> = shown.iter().map(|&i| (i, natural[i])).collect();
        let sum = |widths: &[(usize, usize)]| widths.iter().map(|(_, w)| w).sum::<usize>() + gaps;
        while sum(&widths) > width {
            let widest = widths.iter_mut().filter(|(i, w)| *w > least(*i));
            match widest.max_by_key(|(_, w)| *w) {
                Some((_, w)) => *w -= 1,
                None => break,
            }
        }
        let spare = shown.iter().copied().filter(|&i| columns[i].spare > 0);
        match spare.max_by_key(|&i| columns[i].spare) {
            Some(out) if sum(&widths) > width => shown.retain(|&i| i != out),
            _ => return widths,
        }
    }
}

fn align(columns: &[Column], shown: &[(usize, usize)], row: &[Line]) -> Line {
    let mut line = Line::default();
    for (at, &(i, width)) in shown.iter().enumerate() {
        if at > 0 {
            line.push(Style::Plain, "  ");
        }
        let cell = row.get(i).cloned().unwrap_or_default().cut(width);
        let pad = " ".repeat(width.saturating_sub(cell.width()));
        if columns[i].right {
            line.push(Style::Plain, pad);
            line.append(cell);
        } else {
            line.append(cell);
            line.push(Style::Plain, pad);
        }
    }
    line
}

/// `text` in lines of at most `width` characters, broken between words; a longer word stands
/// alone.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.len() - 1;
        let line = &mut lines[last];
        let used = line.chars().count();
        if used > 0 && used + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
        } else {
            if used > 0 {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

/// Wraps `text` below a first line that begins with `begin`; the others are indented as far.
pub(crate) fn hang(begin: Line, text: &str, width: usize) -> Vec<Line> {
    let indent = begin.width();
    let mut first = Some(begin);
    wrap(text, width.saturating_sub(indent).max(20))
        .into_iter()
        .map(|part| {
            let line = first
                .take()
                .unwrap_or_else(|| Line::from(" ".repeat(indent)));
            line.with(Style::Plain, part)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 3] = [
        Column::figure("PID"),
        Column::text("NAME").least(4),
        Column::text("UNIT").spare(1),
    ];

    fn shown(width: Option<usize>) -> Vec<String> {
        let rows = [
            vec!["7".into(), "warehouse".into(), "shop.service".into()],
            vec!["4242".into(), "shop".into(), Line::default()],
        ];
        let lines = table(&COLUMNS, &rows, width);
        lines.iter().map(|line| line.paint(false)).collect()
    }

    #[test]
    fn columns_are_aligned_and_the_unknown_is_a_dash() {
        let want = [
            " PID  NAME       UNIT",
            "   7  warehouse  shop.service",
            "4242  shop       -",
        ];
        assert_eq!(shown(None), want);
    }

    #[test]
    fn a_narrow_table_is_cut_before_columns_go() {
        assert_eq!(shown(Some(25))[1], "   7  ware…  shop.service");
        assert_eq!(
            shown(Some(16)),
            [" PID  NAME", "   7  warehouse", "4242  shop"]
        );
        assert_eq!(shown(Some(8)), [" PID  N…", "   7  w…", "4242  s…"]);
        for width in 0..40 {
            assert!(
                shown(Some(width))
                    .iter()
                    .all(|line| line.chars().count() <= width),
                "{width}"
            );
        }
    }

    #[test]
    fn names_cannot_steer_the_terminal() {
        let line = Line::from("evil\x1b[2Jname\n\u{9b}31m");
        assert!(!line.paint(false).chars().any(char::is_control));
    }

    #[test]
    fn colour_changes_no_width() {
        let line = Line::new(Style::Bad, "leak")
            .with(Style::Plain, " of a heap")
            .cut(7);
        assert_eq!(line.paint(false), "leak o…");
        assert_eq!(line.paint(true), "\x1b[1;31mleak\x1b[0m o…");
    }

    #[test]
    fn text_is_wrapped_between_words() {
        assert_eq!(wrap("one two  three", 7), ["one two", "three"]);
        assert_eq!(wrap("unbreakable", 3), ["unbreakable"]);
        assert_eq!(wrap("", 3), [""]);
        let lines = hang("  + ".into(), "rises by the minute and by the hour", 24);
        let lines: Vec<String> = lines.iter().map(|line| line.paint(false)).collect();
        assert_eq!(lines, ["  + rises by the minute", "    and by the hour"]);
    }
}
