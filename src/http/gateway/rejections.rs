//! Notices that an upstream refuses everything, one request after the other, for the same reason (DESIGN.md §2).

/// A run of upstream rejections with the same status and code, nothing accepted between.
#[derive(Debug, Default)]
pub struct Rejections {
    run: Option<Run>,
}

#[derive(Debug)]
struct Run {
    status: u16,
    code: String,
    length: u32,
}

impl Rejections {
    /// A request was refused. True once per run: when it is `threshold` long.
    pub fn refused(&mut self, status: u16, code: &str, threshold: u32) -> bool {
        let length = match &mut self.run {
            Some(run) if run.status == status && run.code == code => {
                run.length = run.length.saturating_add(1);
                run.length
            }
            _ => {
                self.run = Some(Run { status, code: code.to_owned(), length: 1 });
                1
            }
        };
        length == threshold.max(1)
    }

    /// The upstream took a request: the run is over.
    pub fn accepted(&mut self) {
        self.run = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_told_once_when_it_reaches_the_threshold() {
        let mut rejections = Rejections::default();
        let told: Vec<bool> = (0..7).map(|_| rejections.refused(400, "weird", 3)).collect();
        assert_eq!(told, [false, false, true, false, false, false, false]);
    }

    #[test]
    fn an_accepted_request_another_status_or_another_code_begins_anew() {
        let mut rejections = Rejections::default();
        for other in [None, Some((401, "weird")), Some((400, "odd"))] {
            assert!(!rejections.refused(400, "weird", 2));
            match other {
                None => rejections.accepted(),
                Some((status, code)) => assert!(!rejections.refused(status, code, 2)),
            }
            assert!(!rejections.refused(400, "weird", 2), "{other:?}");
            assert!(rejections.refused(400, "weird", 2), "{other:?}");
            rejections.accepted();
        }
    }

    #[test]
    fn a_threshold_of_one_tells_the_first() {
        assert!(Rejections::default().refused(404, "model_not_found", 1));
    }
}
