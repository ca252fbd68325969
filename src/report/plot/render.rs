//! A picture as SVG or PNG, through plotters. Both are drawn at twice their size: coordinates are whole there.

use plotters::backend::{BitMapBackend, DrawingBackend, SVGBackend};
use plotters::drawing::IntoDrawingArea;
use plotters::element::{Circle, PathElement, Polygon, Rectangle, Text};
use plotters::prelude::{Color, RGBColor, ShapeStyle};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontDesc, FontFamily, FontStyle, IntoTextStyle, register_font};

use super::scene::{Dash, Ink, Mark, Marker, Place, Scene, Side};

/// Pixels per point.
const SCALE: f64 = 2.0;
/// The size plotters is told is that of a line, 1.24 times that of the letters.
const LINE: f64 = 1.24;
/// The face of every text.
const FAMILY: FontFamily<'_> = FontFamily::SansSerif;

/// Why there is no PNG.
#[derive(Debug, thiserror::Error)]
pub enum PngError {
    /// The bytes given are not a font.
    #[error("{0} is not a TrueType or OpenType font")]
    Font(String),
    /// The drawing library or the encoder said no.
    #[error("the picture cannot be drawn: {0}")]
    Draw(String),
}

/// The picture as a document of its own, on white; `title` is for those who cannot see it.
pub fn svg(scene: &Scene, title: &str) -> String {
    let (body, [width, height]) = drawn(scene, true);
    let attributes =
        format!("width=\"{}\" height=\"{}\" xmlns=\"http://www.w3.org/2000/svg\"", scene.width, scene.height);
    tagged(&body, width, height, &attributes, title)
}

/// The picture to stand in an HTML page: as wide as there is room, without background, of class `class`.
pub fn inline_svg(scene: &Scene, title: &str, class: &str) -> String {
    let (body, [width, height]) = drawn(scene, false);
    tagged(&body, width, height, &format!("class=\"{class}\""), title)
}

fn tagged(body: &str, width: u32, height: u32, attributes: &str, title: &str) -> String {
    let title = escaped(title);
    format!(
        "<svg {attributes} viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{title}\">\n<title>{title}</title>\n{body}</svg>\n"
    )
}

/// Text that may stand in XML, attributes included.
pub fn escaped(text: &str) -> String {
    let mut safe = String::new();
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            // XML 1.0 has no way to write control characters.
            c if c.is_control() => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

/// The elements alone, and the size of their canvas.
fn drawn(scene: &Scene, on_paper: bool) -> (String, [u32; 2]) {
    let size = pixels(scene);
    let mut text = String::new();
    let backend = SVGBackend::with_string(&mut text, (size[0], size[1]));
    draw(scene, backend, on_paper, false).expect("writing to memory cannot fail, and SVG measures no letters");
    let body = text.split_once(">\n").map_or("", |(_, body)| body);
    let body = body.trim_end().trim_end_matches("</svg>");
    (body.replace(" opacity=\"1\"", "").replace(" stroke=\"none\"", ""), size)
}

fn pixels(scene: &Scene) -> [u32; 2] {
    [scene.width, scene.height].map(|points| (points * SCALE) as u32)
}

/// The picture as PNG. `font` holds the bytes of a TrueType or OpenType file and `name` says whose they are.
///
/// # Errors
/// If the font is none, or the picture cannot be drawn or encoded.
pub fn png(scene: &Scene, font: &'static [u8], name: &str) -> Result<Vec<u8>, PngError> {
    for style in [FontStyle::Normal, FontStyle::Bold] {
        register_font(FAMILY.as_str(), style, font).map_err(|_| PngError::Font(name.to_owned()))?;
    }
    let [width, height] = pixels(scene);
    let mut pixels = vec![255_u8; width as usize * height as usize * 3];
    let backend = BitMapBackend::with_buffer(&mut pixels, (width, height));
    draw(scene, backend, true, true).map_err(PngError::Draw)?;
    encoded(pixels, width, height)
}

fn encoded(pixels: Vec<u8>, width: u32, height: u32) -> Result<Vec<u8>, PngError> {
    super::png_file::encode(&pixels, width, height).map_err(|error| PngError::Draw(error.to_string()))
}

fn draw<B: DrawingBackend>(scene: &Scene, backend: B, on_paper: bool, in_pixels: bool) -> Result<(), String> {
    let area = backend.into_drawing_area();
    let said = |error: &dyn std::fmt::Display| error.to_string();
    if on_paper {
        area.fill(&colour(Ink::Paper)).map_err(|error| said(&error))?;
    }
    for mark in &scene.marks {
        let result = match mark {
            Mark::Line { places, ink, width, dash } => {
                let style = ShapeStyle::from(&colour(*ink)).stroke_width((width * SCALE) as u32);
                strokes(places, *dash).into_iter().try_for_each(|stroke| area.draw(&PathElement::new(stroke, style)))
            }
            Mark::Area { places, ink } => {
                area.draw(&Polygon::new(places.iter().map(|at| pixel(*at)).collect::<Vec<_>>(), colour(*ink).filled()))
            }
            Mark::Box { from, to, ink } => {
                area.draw(&Rectangle::new([pixel(*from), pixel(*to)], colour(*ink).filled()))
            }
            Mark::Point { at, radius, ink, marker } => {
                let style = match marker {
                    Marker::Disc => colour(*ink).filled(),
                    Marker::Ring => ShapeStyle::from(&colour(*ink)).stroke_width(SCALE as u32),
                };
                area.draw(&Circle::new(pixel(*at), (radius * SCALE) as i32, style))
            }
            Mark::Text { at, text, size, ink, side, bold } => {
                let across = match side {
                    Side::Start => HPos::Left,
                    Side::Middle => HPos::Center,
                    Side::End => HPos::Right,
                };
                let style = if *bold { FontStyle::Bold } else { FontStyle::Normal };
                let font = FontDesc::new(FAMILY, size * SCALE * LINE, style);
                let colour = colour(*ink);
                let style = font.into_text_style(&area).color(&colour).pos(Pos::new(across, VPos::Center));
                // Where the letters are pixels, plotters centres the line, ascenders and all, not the letters.
                let lower = if in_pixels { (0.22 * size * SCALE) as i32 } else { 0 };
                let (x, y) = (pixel(*at).0, pixel(*at).1 + lower);
                let mut result = area.draw(&Text::new(text.as_str(), (x, y), style.clone()));
                // There is one face only for pixels: a second stroke beside the first makes it bold.
                if *bold && in_pixels && result.is_ok() {
                    result = area.draw(&Text::new(text.as_str(), (x + 1, y), style));
                }
                result
            }
        };
        result.map_err(|error| said(&error))?;
    }
    area.present().map_err(|error| said(&error))
}

fn colour(ink: Ink) -> RGBColor {
    let [red, green, blue] = ink.rgb();
    RGBColor(red, green, blue)
}

fn pixel((x, y): Place) -> (i32, i32) {
    ((x * SCALE).round() as i32, (y * SCALE).round() as i32)
}

/// The parts of a broken line, as pixels; the line itself if it is unbroken.
fn strokes(places: &[Place], dash: Dash) -> Vec<Vec<(i32, i32)>> {
    let lengths = dash.lengths();
    if lengths.is_empty() {
        let mut whole: Vec<_> = places.iter().map(|at| pixel(*at)).collect();
        whole.dedup();
        return vec![whole];
    }
    let mut all = Vec::new();
    let mut stroke = vec![pixel(places[0])];
    let (mut place, mut left) = (0, lengths[0]);
    for pair in places.windows(2) {
        let (mut from, to) = (pair[0], pair[1]);
        loop {
            let rest = libm::hypot(to.0 - from.0, to.1 - from.1);
            let is_stroke = place % 2 == 0;
            if rest <= left {
                left -= rest;
                if is_stroke {
                    stroke.push(pixel(to));
                }
                break;
            }
            let part = left / rest;
            from = (from.0 + part * (to.0 - from.0), from.1 + part * (to.1 - from.1));
            if is_stroke {
                stroke.push(pixel(from));
                all.push(std::mem::take(&mut stroke));
            } else {
                stroke = vec![pixel(from)];
            }
            place += 1;
            left = lengths[place % lengths.len()];
        }
    }
    if stroke.len() > 1 {
        all.push(stroke);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scene() -> Scene {
        let mut scene = Scene::new(100.0, 50.0);
        scene.line(vec![(0.0, 0.0), (100.0, 50.0)], Ink::Blue, 2.0, Dash::Long);
        scene.text((10.0, 10.0), "<script>alert(1)</script>", Ink::Text, Side::Start);
        scene
    }

    #[test]
    fn words_are_words_whatever_they_hold() {
        for text in [svg(&scene(), "a \"title\" & <more>"), inline_svg(&scene(), "</title><script>", "wide")] {
            assert!(!text.contains("<script"), "{text}");
            assert!(text.starts_with("<svg ") && text.ends_with("</svg>\n"), "{text}");
            assert_eq!(text.matches("<svg").count(), 1, "{text}");
        }
    }

    #[test]
    fn equal_scenes_have_equal_bytes() {
        assert_eq!(svg(&scene(), "t"), svg(&scene(), "t"));
        assert!(svg(&scene(), "t").contains("viewBox=\"0 0 200 100\""));
    }

    #[test]
    fn a_broken_line_covers_its_share_of_the_whole() {
        let parts = strokes(&[(0.0, 0.0), (30.0, 0.0), (130.0, 0.0)], Dash::Long);
        assert_eq!(parts.len(), 10);
        let inked: i32 = parts.iter().map(|part| part[part.len() - 1].0 - part[0].0).sum();
        assert_eq!(inked, 2 * 90);
    }

    #[test]
    fn what_is_no_font_is_refused() {
        assert!(png(&scene(), b"not a font", "x.ttf").unwrap_err().to_string().contains("x.ttf"));
    }
}
