//! What GPUs of each class cost, and which cards belong to which class. The table is the last published one with both columns.

use std::sync::LazyLock;

/// Prices of one class, in dollars per GPU and second.
#[derive(Clone, Debug, PartialEq)]
pub struct PriceRow {
    /// Class, such as `ADA_24`.
    pub class: String,
    /// Memory of one GPU.
    pub vram_gb: f64,
    /// Flex and extra workers.
    pub flex: f64,
    /// Active workers, where published.
    pub active: Option<f64>,
    /// Date of the source.
    pub date: String,
}

/// The table, in order of memory.
pub fn table() -> &'static [PriceRow] {
    static TABLE: LazyLock<Vec<PriceRow>> = LazyLock::new(|| read(include_str!("gpu-prices.csv")));
    &TABLE
}

/// The active price of a class for which none is published: 20 % below flex from 80 GB on, 30 % below that (contract §6).
pub fn active_fallback(flex: f64, vram_gb: f64) -> f64 {
    flex * if vram_gb >= 80.0 { 0.8 } else { 0.7 }
}

/// Cards by the names under which they are sold, and their classes (RunPod docs, GPU types).
const CARDS: &[(&str, &str)] = &[
    ("A4000", "AMPERE_16"),
    ("A4500", "AMPERE_16"),
    ("RTX 4000", "AMPERE_16"),
    ("L4", "AMPERE_24"),
    ("A5000", "AMPERE_24"),
    ("RTX 3090", "AMPERE_24"),
    ("RTX 4090", "ADA_24"),
    ("A6000", "AMPERE_48"),
    ("A40", "AMPERE_48"),
    ("L40", "ADA_48_PRO"),
    ("L40S", "ADA_48_PRO"),
    ("RTX 6000 Ada", "ADA_48_PRO"),
    ("A100", "AMPERE_80"),
    ("A100-80GB", "AMPERE_80"),
    ("H100", "ADA_80_PRO"),
    ("H100-80GB", "ADA_80_PRO"),
    ("RTX PRO 6000", "BLACKWELL_96"),
    ("H200", "HOPPER_141"),
    ("B200", "BLACKWELL_180"),
];

/// The class of a card, by the name under which it is sold.
pub fn class_of_card(card: &str) -> Option<&'static str> {
    CARDS.iter().find(|(name, _)| name.eq_ignore_ascii_case(card)).map(|(_, class)| *class)
}

/// The names of all cards, for suggestions.
pub fn cards<'a>() -> Vec<&'a str> {
    CARDS.iter().map(|(card, _)| *card).collect()
}

fn read(text: &str) -> Vec<PriceRow> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let row = |record: csv::StringRecord| {
        let number = |column: usize| record[column].parse::<f64>();
        PriceRow {
            class: record[0].to_owned(),
            vram_gb: number(1).expect("the shipped price table has a number in column 2"),
            flex: number(2).expect("the shipped price table has a number in column 3"),
            active: number(3).ok(),
            date: record[4].to_owned(),
        }
    };
    reader.records().map(|record| row(record.expect("the shipped price table is CSV"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_ten_classes_in_order_of_memory() {
        assert_eq!(table().len(), 10);
        assert!(table().windows(2).all(|pair| pair[0].vram_gb <= pair[1].vram_gb));
        assert!(table().iter().all(|row| row.active.is_none_or(|active| active < row.flex)));
        let ada = table().iter().find(|row| row.class == "ADA_24").unwrap();
        assert_eq!((ada.flex, ada.active), (0.00031, Some(0.00021)));
    }

    #[test]
    fn a_class_without_an_active_price_gets_the_usual_discount() {
        let row = table().iter().find(|row| row.active.is_none()).unwrap();
        assert_eq!(row.class, "BLACKWELL_96");
        assert!((active_fallback(row.flex, row.vram_gb) - 0.000888).abs() < 1e-12);
        assert!((active_fallback(0.0002, 24.0) - 0.00014).abs() < 1e-12);
    }

    #[test]
    fn every_card_belongs_to_a_class_of_the_table() {
        assert!(CARDS.iter().all(|(_, class)| table().iter().any(|row| row.class == *class)));
        assert_eq!(class_of_card("rtx 4090"), Some("ADA_24"));
    }
}
