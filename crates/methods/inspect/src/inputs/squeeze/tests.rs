//! Known answers by scipy 1.17.1 (`ndimage.median_filter` and `gaussian_filter`, mode `reflect`), and what a squeezer must do.

use super::*;
use crate::{inputs::ChannelOrder, numbers::Keyed};

const SECRET: [u8; 32] = [3; 32];
/// 4 rows of 5 pixels: 7 i mod 13.
const PIXELS: [f32; 20] = [
    0.0, 7.0, 1.0, 8.0, 2.0, 9.0, 3.0, 10.0, 4.0, 11.0, 5.0, 12.0, 6.0, 0.0, 7.0, 1.0, 8.0, 2.0, 9.0, 3.0,
];

fn image(channels: usize, order: ChannelOrder) -> Form {
    Form::Image {
        channels,
        height: 4,
        width: 5,
        order,
    }
}

const AUDIO: Form = Form::Audio {
    samples: 400,
    rate: 8_000,
};

/// Rows whose range is 0 to 12.
fn sample(form: Form) -> Sample {
    let inputs = form.inputs().unwrap();
    let mut keyed = Keyed::new(&SECRET, "rows");
    let mut number = || ((keyed.bits() % 1201) as f32) / 100.0;
    let mut rows: Vec<f32> = (0..200 * inputs).map(|_| number()).collect();
    rows.chunks_mut(inputs)
        .for_each(|row| (row[0], row[1]) = (0.0, 12.0));
    if let Form::Table { columns } = form {
        let places = rows.chunks_mut(columns).enumerate();
        places.for_each(|(place, row)| match place % 10 {
            0 => (row[0], row[2]) = (12.0, 0.0),
            1 => row[2] = 12.0,
            _ => {}
        });
    }
    Sample::new(&rows, form, &SECRET).unwrap()
}

fn squeeze(spec: SqueezerSpec, form: Form, row: &[f32]) -> Vec<f32> {
    let squeezers = Squeezers::fit(&[spec], &sample(form), &SECRET).unwrap();
    squeezers.squeeze(row).unwrap()
}

#[track_caller]
fn check(made: &[f32], expected: &[f32]) {
    assert_eq!(made.len(), expected.len());
    for (made, expected) in made.iter().zip(expected) {
        assert!((made - expected).abs() < 2e-4, "{made} for {expected}");
    }
}

#[test]
fn smoothing_matches_scipy() {
    let grey = image(1, ChannelOrder::First);
    let two = [
        0.0, 7.0, 7.0, 8.0, 8.0, 9.0, 7.0, 7.0, 8.0, 8.0, 9.0, 9.0, 10.0, 6.0, 7.0, 5.0, 8.0, 8.0, 6.0, 7.0,
    ];
    let three = [
        3.0, 3.0, 7.0, 4.0, 4.0, 5.0, 6.0, 6.0, 6.0, 7.0, 5.0, 6.0, 6.0, 6.0, 7.0, 5.0, 5.0, 8.0, 3.0, 3.0,
    ];
    let gaussian = [
        3.9674, 4.6666, 5.0606, 5.3338, 5.3197, 5.4761, 5.8377, 5.7458, 5.6708, 6.1324, 5.6893, 6.2764,
        5.8456, 5.3760, 5.7335, 4.5681, 5.5992, 5.4945, 5.1869, 5.0196,
    ];
    check(&squeeze(SqueezerSpec::Median { window: 2 }, grey, &PIXELS), &two);
    check(
        &squeeze(SqueezerSpec::Median { window: 3 }, grey, &PIXELS),
        &three,
    );
    check(
        &squeeze(SqueezerSpec::Gaussian { sigma: 1.0 }, grey, &PIXELS),
        &gaussian,
    );
    let mut wave = [0.0; 400];
    wave[..9].copy_from_slice(&[0.0, 5.0, 3.0, 1.0, 6.0, 4.0, 2.0, 0.0, 5.0]);
    let made = squeeze(SqueezerSpec::Median { window: 3 }, AUDIO, &wave);
    check(&made[..8], &[0.0, 3.0, 3.0, 3.0, 4.0, 4.0, 2.0, 2.0]);
    let made = squeeze(SqueezerSpec::Median { window: 4 }, AUDIO, &wave);
    check(&made[..7], &[5.0, 3.0, 3.0, 5.0, 4.0, 4.0, 4.0]);
}

#[test]
fn colours_are_apart_in_either_order() {
    let backward: Vec<f32> = PIXELS.iter().rev().copied().collect();
    let planes = [&PIXELS[..], &backward].concat();
    let mixed: Vec<f32> = PIXELS.iter().zip(&backward).flat_map(|(a, b)| [*a, *b]).collect();
    let spec = SqueezerSpec::Median { window: 3 };
    let first = squeeze(spec, image(2, ChannelOrder::First), &planes);
    let last = squeeze(spec, image(2, ChannelOrder::Last), &mixed);
    let (one, two) = first.split_at(20);
    assert_eq!(one, squeeze(spec, image(1, ChannelOrder::First), &PIXELS));
    let woven: Vec<f32> = one.iter().zip(two).flat_map(|(a, b)| [*a, *b]).collect();
    assert_eq!(last, woven);
}

#[test]
fn values_are_rounded_to_levels() {
    let grey = image(1, ChannelOrder::First);
    let mut row = [0.0; 20];
    row[..6].copy_from_slice(&[0.0, 1.2, 3.0, 6.0, 9.0, 12.0]);
    let made = squeeze(SqueezerSpec::BitDepth { bits: 2 }, grey, &row);
    check(&made[..6], &[0.0, 0.0, 4.0, 8.0, 8.0, 12.0]);
    let table = Form::Table { columns: 3 };
    check(
        &squeeze(SqueezerSpec::Grid { steps: 4 }, table, &[4.4, 12.0, 7.6]),
        &[3.0, 12.0, 9.0],
    );
    let made = squeeze(SqueezerSpec::Quantiles { bins: 4 }, table, &[5.0, 3.0, 6.1]);
    assert_eq!(&made[..2], &[0.0, 12.0], "few values are kept as they are");
    assert!(
        (made[2] - 4.5).abs() < 1.5 || (made[2] - 7.5).abs() < 1.5,
        "{made:?}"
    );
}

#[test]
fn non_local_means_keeps_edges_and_takes_noise() {
    let grey = image(1, ChannelOrder::First);
    let mut keyed = Keyed::new(&SECRET, "noise");
    let clean: Vec<f32> = (0..20)
        .map(|place| if place % 5 < 2 { 2.0 } else { 10.0 })
        .collect();
    let noisy: Vec<f32> = clean.iter().map(|value| value + 0.5 * keyed.normal()).collect();
    let spec = SqueezerSpec::NonLocalMeans {
        search: 7,
        patch: 3,
        strength: 0.1,
    };
    let made = squeeze(spec, grey, &noisy);
    let error = |row: &[f32]| row.iter().zip(&clean).map(|(a, b)| (a - b).powi(2)).sum::<f32>();
    assert!(
        error(&made) < 0.5 * error(&noisy),
        "{} of {}",
        error(&made),
        error(&noisy)
    );
}

#[test]
fn principal_directions_keep_what_lies_along_them() {
    let table = Form::Table { columns: 6 };
    let mut keyed = Keyed::new(&SECRET, "plane");
    let rows: Vec<f32> = (0..300)
        .flat_map(|_| {
            let (a, b) = (keyed.normal(), keyed.normal());
            [a, b, a + b, a - b, 2.0 * a, 3.0]
        })
        .collect();
    let sample = Sample::new(&rows, table, &SECRET).unwrap();
    let squeezers = Squeezers::fit(&[SqueezerSpec::Principal { directions: 2 }], &sample, &SECRET).unwrap();
    let on = [0.5, -0.3, 0.2, 0.8, 1.0, 3.0];
    check(&squeezers.squeeze(&on).unwrap(), &on);
    let off = [0.5, -0.3, 1.2, 0.8, 1.0, 3.0];
    assert!((squeezers.squeeze(&off).unwrap()[2] - 0.2).abs() < 0.5);
}

#[test]
fn filters_keep_low_tones_and_remove_high_ones() {
    let tone = |hertz: f32| -> Vec<f32> {
        let angle = |place: u16| std::f32::consts::TAU * hertz * f32::from(place) / 8_000.0;
        (0..400).map(|place| 6.0 + 4.0 * angle(place).sin()).collect()
    };
    for spec in [
        SqueezerSpec::LowPass { hertz: 2_000.0 },
        SqueezerSpec::Resample { rate: 4_000 },
    ] {
        let kept = |hertz| {
            let (row, made) = (tone(hertz), squeeze(spec, AUDIO, &tone(hertz)));
            let middle = 100..300;
            let energy = |row: &[f32]| {
                row[middle.clone()]
                    .iter()
                    .map(|value| (value - 6.0).powi(2))
                    .sum::<f32>()
            };
            energy(&made) / energy(&row)
        };
        assert!((kept(500.0) - 1.0).abs() < 0.02, "{spec:?} {}", kept(500.0));
        assert!(kept(3_500.0) < 0.01, "{spec:?} {}", kept(3_500.0));
    }
}

#[test]
fn specs_that_do_not_fit_are_refused() {
    let (grey, table) = (image(1, ChannelOrder::First), Form::Table { columns: 20 });
    for (spec, form) in [
        (SqueezerSpec::BitDepth { bits: 0 }, grey),
        (SqueezerSpec::BitDepth { bits: 16 }, grey),
        (SqueezerSpec::BitDepth { bits: 4 }, table),
        (SqueezerSpec::Median { window: 1 }, grey),
        (SqueezerSpec::Median { window: 10 }, grey),
        (SqueezerSpec::Gaussian { sigma: f32::NAN }, grey),
        (SqueezerSpec::Gaussian { sigma: 9.0 }, grey),
        (SqueezerSpec::Principal { directions: 20 }, grey),
        (SqueezerSpec::Principal { directions: 0 }, table),
        (SqueezerSpec::Principal { directions: 9 }, AUDIO),
        (SqueezerSpec::LowPass { hertz: 4_000.0 }, AUDIO),
        (SqueezerSpec::LowPass { hertz: f64::NAN }, AUDIO),
        (SqueezerSpec::Resample { rate: 8_001 }, AUDIO),
        (SqueezerSpec::Resample { rate: 499 }, AUDIO),
        (SqueezerSpec::Grid { steps: 0 }, table),
        (SqueezerSpec::Quantiles { bins: 4097 }, table),
        (SqueezerSpec::Grid { steps: 4 }, grey),
    ] {
        let made = Squeezers::fit(&[spec], &sample(form), &SECRET);
        assert!(
            matches!(made, Err(SqueezeError::Unfit { place: 0, .. })),
            "{spec:?} {made:?}"
        );
    }
    let fit = |specs: &[SqueezerSpec]| Squeezers::fit(specs, &sample(grey), &SECRET).map(|_| ());
    assert_eq!(fit(&[]), Err(SqueezeError::Count { count: 0 }));
    assert_eq!(
        fit(&[SqueezerSpec::Median { window: 2 }; 9]),
        Err(SqueezeError::Count { count: 9 })
    );
}

#[test]
fn what_would_take_too_long_is_refused() {
    let form = Form::Image {
        channels: 1,
        height: 96,
        width: 96,
        order: ChannelOrder::First,
    };
    let rows = vec![0.5; 100 * form.inputs().unwrap()];
    let sample = Sample::new(&rows, form, &SECRET).unwrap();
    let costly = SqueezerSpec::NonLocalMeans {
        search: 21,
        patch: 9,
        strength: 0.1,
    };
    let made = Squeezers::fit(&[SqueezerSpec::Median { window: 2 }, costly], &sample, &SECRET);
    assert!(
        matches!(made, Err(SqueezeError::Costly { place: 1, .. })),
        "{made:?}"
    );
}
