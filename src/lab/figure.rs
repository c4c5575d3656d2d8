//! Figures: an experiment says what belongs on which axis, and plotters draws
//! it as SVG. Colours work on light and on dark ground; text and axes take the
//! colour of the page.

use std::fmt::Display;

use anyhow::anyhow;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

/// What an experiment draws: panels, one below the other.
#[derive(Clone, Debug, Default)]
pub struct Figure {
    /// The panels.
    pub panels: Vec<Panel>,
}

/// One drawing.
#[derive(Clone, Debug)]
pub enum Panel {
    /// Figures that depend on a number.
    Lines(Lines),
    /// Figures that depend on a kind.
    Bars(Bars),
    /// Kinds that depend on two kinds.
    Matrix(Matrix),
}

/// Lines over a common axis.
#[derive(Clone, Debug)]
pub struct Lines {
    /// What it shows.
    pub title: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// The lines, with their names.
    pub series: Vec<(String, Vec<(f64, f64)>)>,
    /// A band behind them.
    pub band: Option<Band>,
}

/// What figures are expected to keep to.
#[derive(Clone, Debug)]
pub struct Band {
    /// Its name.
    pub name: String,
    /// x, lower and upper end.
    pub ends: Vec<(f64, f64, f64)>,
}

/// An axis.
#[derive(Clone, Debug)]
pub struct Axis {
    /// What it counts, and in which unit.
    pub label: String,
    /// True where equal steps are equal factors; all figures are above 0 then.
    pub logarithmic: bool,
}

/// Bars in groups.
#[derive(Clone, Debug)]
pub struct Bars {
    /// What it shows.
    pub title: String,
    /// What the bars count, and in which unit.
    pub y: String,
    /// Names of the groups.
    pub groups: Vec<String>,
    /// The bars of a kind, with its name: one a group.
    pub series: Vec<(String, Vec<f64>)>,
}

/// A table of colours.
#[derive(Clone, Debug)]
pub struct Matrix {
    /// What it shows.
    pub title: String,
    /// Names of the rows.
    pub rows: Vec<String>,
    /// Names of the columns.
    pub columns: Vec<String>,
    /// Cells by row: text, and how it is coloured.
    pub cells: Vec<Vec<(String, Shade)>>,
}

/// How a cell is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shade {
    /// It works.
    Good,
    /// It does not.
    Bad,
    /// It is worth a look.
    Marked,
    /// Nothing.
    Unmarked,
}

const WIDTH: u32 = 760;
const LEGEND_FROM: usize = 2;
/// The part of a panel's height that a line of the legend takes, which bars
/// would reach into.
const LEGEND_LINE: f64 = 0.07;
const FONT: &str = "sans-serif";
/// What plotters shall take for the colour of text; see `themed`.
const INK: RGBColor = RGBColor(0, 0, 0);
/// Eight colours that colour-blind people tell apart (M. Okabe, K. Ito, "Color
/// Universal Design", 2008), without yellow and black, which one ground hides.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
];

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

impl Axis {
    /// An axis of equal steps.
    pub fn linear(label: &str) -> Axis {
        Axis {
            label: label.into(),
            logarithmic: false,
        }
    }

    /// An axis of equal factors.
    pub fn logarithmic(label: &str) -> Axis {
        Axis {
            label: label.into(),
            logarithmic: true,
        }
    }
}

impl Figure {
    /// The figure as SVG, which takes its ground and ink from the page or, by
    /// itself, from the viewer's preference for light or dark.
    ///
    /// # Errors
    ///
    /// What plotters says; figures that are not numbers, for one.
    pub fn svg(&self) -> anyhow::Result<String> {
        let heights: Vec<u32> = self.panels.iter().map(Panel::height).collect();
        let mut text = String::new();
        let root =
            SVGBackend::with_string(&mut text, (WIDTH, heights.iter().sum())).into_drawing_area();
        let mut rest = root.clone();
        for (panel, height) in self.panels.iter().zip(heights) {
            let (area, below) = rest.split_vertically(height);
            panel.draw(&area)?;
            rest = below;
        }
        root.present().map_err(failed)?;
        drop((root, rest));
        Ok(themed(&text))
    }
}

/// Lets the page choose the ink, and the viewer where there is no page.
fn themed(svg: &str) -> String {
    const STYLE: &str = "<style>:root{color:#222;background:#fff}\
@media(prefers-color-scheme:dark){:root{color:#ddd;background:#181818}}</style>";
    let svg = svg.replace("#000000", "currentColor");
    match svg.find('>') {
        Some(end) => format!("{}{STYLE}{}", &svg[..=end], &svg[end + 1..]),
        None => svg,
    }
}

fn failed(error: impl Display) -> anyhow::Error {
    anyhow!("cannot draw: {error}")
}

impl Panel {
    fn height(&self) -> u32 {
        match self {
            Panel::Lines(_) | Panel::Bars(_) => 360,
            Panel::Matrix(matrix) => 70 + 22 * matrix.rows.len() as u32,
        }
    }

    fn draw(&self, area: &Area<'_>) -> anyhow::Result<()> {
        match self {
            Panel::Lines(lines) => lines.draw(area),
            Panel::Bars(bars) => bars.draw(area),
            Panel::Matrix(matrix) => matrix.draw(area),
        }
    }
}

impl Lines {
    fn draw(&self, area: &Area<'_>) -> anyhow::Result<()> {
        let band = self.band.iter().flat_map(|band| &band.ends);
        let corners = band.flat_map(|&(x, low, high)| [(x, low), (x, high)]);
        let points: Vec<(f64, f64)> = self
            .series
            .iter()
            .flat_map(|(_, points)| points.clone())
            .chain(corners)
            .collect();
        let (x, y) = (
            self.x.span(points.iter().map(|p| p.0)),
            self.y.span(points.iter().map(|p| p.1)),
        );
        match (self.x.logarithmic, self.y.logarithmic) {
            (false, false) => self.draw_on(area, x, y),
            (true, false) => self.draw_on(area, (x.start..x.end).log_scale(), y),
            (false, true) => self.draw_on(area, x, (y.start..y.end).log_scale()),
            (true, true) => self.draw_on(
                area,
                (x.start..x.end).log_scale(),
                (y.start..y.end).log_scale(),
            ),
        }
    }

    fn draw_on<X, Y>(&self, area: &Area<'_>, x: X, y: Y) -> anyhow::Result<()>
    where
        X: AsRangedCoord<Value = f64>,
        Y: AsRangedCoord<Value = f64>,
        X::CoordDescType: ValueFormatter<f64>,
        Y::CoordDescType: ValueFormatter<f64>,
    {
        let mut chart = frame(area, &self.title)
            .build_cartesian_2d(x, y)
            .map_err(failed)?;
        chart
            .configure_mesh()
            .x_desc(&self.x.label)
            .y_desc(&self.y.label)
            .x_label_formatter(&number)
            .y_label_formatter(&number)
            .label_style((FONT, 13, &INK))
            .light_line_style(TRANSPARENT)
            .bold_line_style(INK.mix(0.15))
            .draw()
            .map_err(failed)?;
        if let Some(Band { name, ends }) = &self.band {
            let upper = ends.iter().map(|&(x, _, high)| (x, high));
            let outline: Vec<_> = upper
                .chain(ends.iter().rev().map(|&(x, low, _)| (x, low)))
                .collect();
            let fill = RGBColor(128, 128, 128).mix(0.3).filled();
            let band = chart
                .draw_series([Polygon::new(outline, fill)])
                .map_err(failed)?;
            band.label(name)
                .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 16, y + 5)], fill));
        }
        for ((name, points), colour) in self.series.iter().zip(COLOURS.iter().cycle()) {
            let line =
                LineSeries::new(points.iter().copied(), colour.stroke_width(2)).point_size(3);
            let line = chart.draw_series(line).map_err(failed)?;
            line.label(name).legend(move |(x, y)| {
                PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2))
            });
        }
        if self.series.len() + usize::from(self.band.is_some()) >= LEGEND_FROM {
            legend(&mut chart)?;
        }
        Ok(())
    }
}

impl Axis {
    /// From the smallest to the largest figure, with room for a line; from 0
    /// where steps are equal.
    fn span(&self, figures: impl Iterator<Item = f64>) -> std::ops::Range<f64> {
        let (low, high) = figures.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| {
            (low.min(x), high.max(x))
        });
        if !low.is_finite() {
            return 0.1..1.0;
        }
        if self.logarithmic {
            low / 1.2..high * 1.2
        } else {
            low.min(0.0)..high.max(low.min(0.0) + f64::MIN_POSITIVE) * 1.05
        }
    }
}

impl Bars {
    fn draw(&self, area: &Area<'_>) -> anyhow::Result<()> {
        let figures = self
            .series
            .iter()
            .flat_map(|(_, bars)| bars.iter().copied());
        let mut y = Axis::linear(&self.y).span(figures);
        if self.series.len() >= LEGEND_FROM {
            y.end *= 1.0 + LEGEND_LINE * self.series.len() as f64;
        }
        let groups = self.groups.len();
        let x: RangedCoordf64 = (-0.5..groups as f64 - 0.5).into();
        let mut chart = frame(area, &self.title)
            .build_cartesian_2d(x, y)
            .map_err(failed)?;
        let name = |at: &f64| {
            let is_middle = (at - at.round()).abs() < 1e-6;
            self.groups
                .get(at.round() as usize)
                .filter(|_| is_middle && *at > -0.1)
                .cloned()
                .unwrap_or_default()
        };
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_labels(2 * groups + 1)
            .x_label_formatter(&name)
            .y_desc(&self.y)
            .y_label_formatter(&number)
            .label_style((FONT, 13, &INK))
            .light_line_style(TRANSPARENT)
            .bold_line_style(INK.mix(0.15))
            .draw()
            .map_err(failed)?;
        let width = 0.8 / self.series.len().max(1) as f64;
        for (index, ((name, bars), colour)) in
            self.series.iter().zip(COLOURS.iter().cycle()).enumerate()
        {
            let bar = |(group, &height): (usize, &f64)| {
                let left = group as f64 - 0.4 + index as f64 * width;
                Rectangle::new(
                    [(left, 0.0), (left + width * 0.95, height)],
                    colour.filled(),
                )
            };
            let drawn = chart
                .draw_series(bars.iter().enumerate().map(bar))
                .map_err(failed)?;
            drawn.label(name).legend(move |(x, y)| {
                Rectangle::new([(x, y - 5), (x + 16, y + 5)], colour.filled())
            });
        }
        if self.series.len() >= LEGEND_FROM {
            legend(&mut chart)?;
        }
        Ok(())
    }
}

impl Matrix {
    fn draw(&self, area: &Area<'_>) -> anyhow::Result<()> {
        const LEFT: i32 = 210;
        const TOP: i32 = 62;
        const HEIGHT: i32 = 22;
        let text = |size: i32| (FONT, size).into_font().color(&INK);
        area.draw(&Text::new(self.title.clone(), (10, 8), text(17)))
            .map_err(failed)?;
        let width = (WIDTH as i32 - LEFT - 10) / self.columns.len().max(1) as i32;
        for (column, name) in self.columns.iter().enumerate() {
            let place = (LEFT + column as i32 * width + 4, TOP - 20);
            area.draw(&Text::new(name.clone(), place, text(12)))
                .map_err(failed)?;
        }
        for (row, (name, cells)) in self.rows.iter().zip(&self.cells).enumerate() {
            let top = TOP + row as i32 * HEIGHT;
            area.draw(&Text::new(name.clone(), (10, top + 4), text(12)))
                .map_err(failed)?;
            for (column, (word, shade)) in cells.iter().enumerate() {
                let left = LEFT + column as i32 * width;
                let corners = [(left, top), (left + width - 2, top + HEIGHT - 2)];
                area.draw(&Rectangle::new(corners, shade.colour().filled()))
                    .map_err(failed)?;
                area.draw(&Text::new(word.clone(), (left + 4, top + 4), text(12)))
                    .map_err(failed)?;
            }
        }
        Ok(())
    }
}

impl Shade {
    fn colour(self) -> RGBAColor {
        match self {
            Shade::Good => COLOURS[2].mix(0.4),
            Shade::Bad => COLOURS[1].mix(0.4),
            Shade::Marked => COLOURS[5].mix(0.9),
            Shade::Unmarked => TRANSPARENT,
        }
    }
}

fn frame<'a, 'b>(area: &'a Area<'b>, title: &str) -> ChartBuilder<'a, 'b, SVGBackend<'b>> {
    let mut builder = ChartBuilder::on(area);
    builder
        .caption(title, (FONT, 17, &INK))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(64);
    builder
}

fn legend<'a, 'b: 'a, X, Y>(
    chart: &mut ChartContext<'a, SVGBackend<'b>, Cartesian2d<X, Y>>,
) -> anyhow::Result<()>
where
    X: Ranged<ValueType = f64>,
    Y: Ranged<ValueType = f64>,
{
    chart
        .configure_series_labels()
        .label_font((FONT, 13, &INK))
        .position(SeriesLabelPosition::UpperRight)
        .draw()
        .map_err(failed)
}

/// A number on an axis: 0.25, 4096, 1.5 M.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn number(figure: &f64) -> String {
    match figure.abs() {
        0.0 => "0".into(),
        size if size >= 1e6 => format!("{} M", short(figure / 1e6)),
        size if size >= 1e4 => format!("{} k", short(figure / 1e3)),
        _ => short(*figure),
    }
}

fn short(figure: f64) -> String {
    let text = format!("{figure:.3}");
    text.trim_end_matches('0').trim_end_matches('.').into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(logarithmic: bool) -> Panel {
        Panel::Lines(Lines {
            title: "Shares <of> flows".into(),
            x: Axis {
                label: "flows".into(),
                logarithmic,
            },
            y: Axis {
                label: "share".into(),
                logarithmic,
            },
            series: vec![
                ("hash".into(), vec![(1.0, 2.0), (4096.0, 1.1)]),
                ("random".into(), vec![(1.0, 1.0), (8.0, 1.0)]),
            ],
            band: Some(Band {
                name: "chance".into(),
                ends: vec![(1.0, 1.0, 2.0), (4096.0, 1.0, 1.2)],
            }),
        })
    }

    #[test]
    fn every_panel_is_drawn() {
        let bars = Panel::Bars(Bars {
            title: "Rates".into(),
            y: "answers/s".into(),
            groups: vec!["reuseport".into(), "shared".into()],
            series: vec![
                ("one".into(), vec![2e5, 1e5]),
                ("two".into(), vec![0.0, 3.0]),
            ],
        });
        let matrix = Panel::Matrix(Matrix {
            title: "Who may bind".into(),
            rows: vec!["first".into()],
            columns: vec!["second".into()],
            cells: vec![vec![("works".into(), Shade::Good)]],
        });
        let svg = Figure {
            panels: vec![lines(true), lines(false), bars, matrix],
        }
        .svg()
        .unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        for word in [
            "Shares &lt;of&gt; flows",
            "hash",
            "chance",
            "answers/s",
            "reuseport",
            "works",
            "200 k",
        ] {
            assert!(svg.contains(word), "{word}");
        }
        assert!(!svg.contains("#000000") && svg.contains("currentColor"));
    }

    #[test]
    fn empty_figures_do_not_break() {
        let mut empty = lines(false);
        if let Panel::Lines(lines) = &mut empty {
            lines.series.clear();
            lines.band = None;
        }
        assert!(
            Figure {
                panels: vec![empty]
            }
            .svg()
            .is_ok()
        );
        assert!(Figure::default().svg().is_ok());
    }

    #[test]
    fn numbers_are_short() {
        for (figure, text) in [
            (0.0, "0"),
            (0.25, "0.25"),
            (4096.0, "4096"),
            (25_000.0, "25 k"),
            (1.5e6, "1.5 M"),
            (1e-4, "0"),
        ] {
            assert_eq!(number(&figure), text);
        }
    }
}
