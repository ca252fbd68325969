//! A small linear program solver: maximise a linear function over `A x <= b`, `x >= 0` with `b >= 0`, dense tableau.

/// The program under construction.
pub struct Program {
    /// What each variable is worth.
    pub objective: Vec<f64>,
    rows: Vec<Vec<f64>>,
    limits: Vec<f64>,
}

impl Program {
    /// No rows yet, objective 0.
    pub fn new(variables: usize) -> Program {
        Program { objective: vec![0.0; variables], rows: Vec::new(), limits: Vec::new() }
    }

    /// Adds the row `sum(coefficient * variable) <= limit`; `limit` must not be negative.
    pub fn at_most(&mut self, row: &[(usize, f64)], limit: f64) {
        assert!(limit >= 0.0, "the origin must be feasible");
        let mut dense = vec![0.0; self.objective.len()];
        for &(variable, coefficient) in row {
            dense[variable] += coefficient;
        }
        self.rows.push(dense);
        self.limits.push(limit);
    }

    /// The largest value of the objective; panics if it is unbounded.
    ///
    /// Pivots are exchanges in a condensed tableau (columns: the variables now at 0). Dantzig's largest coefficient first; the
    /// limits are perturbed a little and increasingly, so that ties of the ratio test, hence cycles, do not occur. The optimum
    /// moves by less than the sum of the perturbations times the largest dual value, about 1e-6 here.
    pub fn maximum(mut self) -> f64 {
        for (row, limit) in self.limits.iter_mut().enumerate() {
            *limit += 1e-9 * (1.0 + (row as f64 * 0.618_033_988_749_895).fract());
        }
        let mut value = 0.0;
        loop {
            let entering = (0..self.objective.len()).max_by(|&a, &b| self.objective[a].total_cmp(&self.objective[b]));
            let Some(column) = entering.filter(|&column| self.objective[column] > 1e-9) else { return value };
            let ratios = self.rows.iter().zip(&self.limits).enumerate();
            let leaving = ratios
                .filter(|(_, (row, _))| row[column] > 1e-9)
                .map(|(index, (row, limit))| (limit / row[column], index))
                .min_by(|a, b| a.0.total_cmp(&b.0));
            let (_, row) = leaving.expect("the program is bounded");
            value += self.pivot(row, column);
        }
    }

    /// Exchanges the row's basic variable with the column's; returns the gain.
    fn pivot(&mut self, row: usize, column: usize) -> f64 {
        let pivot = self.rows[row][column];
        for entry in &mut self.rows[row] {
            *entry /= pivot;
        }
        self.rows[row][column] = 1.0 / pivot;
        self.limits[row] = (self.limits[row] / pivot).max(0.0);
        let (pivot_row, limit) = (self.rows[row].clone(), self.limits[row]);
        for (index, other) in self.rows.iter_mut().enumerate() {
            let factor = other[column];
            if index != row && factor != 0.0 {
                eliminate(other, &pivot_row, column, factor);
                self.limits[index] = (self.limits[index] - factor * limit).max(0.0);
            }
        }
        let factor = self.objective[column];
        eliminate(&mut self.objective, &pivot_row, column, factor);
        factor * limit
    }
}

fn eliminate(target: &mut [f64], pivot_row: &[f64], column: usize, factor: f64) {
    target[column] = 0.0;
    for (entry, pivot) in target.iter_mut().zip(pivot_row) {
        *entry -= factor * pivot;
    }
}

#[test]
fn a_textbook_program_has_its_textbook_maximum() {
    // Maximise 3x + 5y with x <= 4, 2y <= 12, 3x + 2y <= 18: 36 at (2, 6) (Dantzig; Hillier and Lieberman).
    let mut program = Program::new(2);
    program.objective = vec![3.0, 5.0];
    program.at_most(&[(0, 1.0)], 4.0);
    program.at_most(&[(1, 2.0)], 12.0);
    program.at_most(&[(0, 3.0), (1, 2.0)], 18.0);
    assert!((program.maximum() - 36.0).abs() < 1e-6);
}
