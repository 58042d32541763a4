//! What every store of rows must do.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};
use stockade_evidence::Change;
use stockade_store::{Batch, Position, RowStore, SqliteRows};

use crate::folder::put;

fn at(size: u64) -> Position {
    Position {
        origin: "log".into(),
        size,
    }
}

fn delete(kind: &str, id: &str) -> Change {
    Change::Delete {
        kind: kind.into(),
        id: id.into(),
    }
}

async fn suite(rows: impl RowStore) {
    starts_empty(&rows).await;
    sorts_by_bytes(&rows).await;
    keeps_kinds_apart(&rows).await;
    applies_whole_batches_in_order(&rows).await;
    keeps_any_text(&rows).await;
    lists_more_than_a_page(&rows).await;
}

async fn starts_empty(rows: &impl RowStore) {
    assert_eq!(rows.applied().await.unwrap(), None);
    assert_eq!(rows.row("thing", "a").await.unwrap(), None);
    assert!(rows.rows("thing").await.unwrap().is_empty());
    rows.apply(&Batch {
        changes: vec![],
        applied: at(3),
    })
    .await
    .unwrap();
    assert_eq!(rows.applied().await.unwrap(), Some(at(3)));
}

async fn sorts_by_bytes(rows: &impl RowStore) {
    let ids = ["b", "a", "B", "é", "a0", "z", "_"];
    let changes = ids.iter().map(|id| (4, put("sorted", id, json!(id)))).collect();
    rows.apply(&Batch {
        changes,
        applied: at(5),
    })
    .await
    .unwrap();
    let mut expected = ids.map(str::to_owned);
    expected.sort_unstable();
    let found: Vec<String> = rows
        .rows("sorted")
        .await
        .unwrap()
        .into_iter()
        .map(|row| row.id)
        .collect();
    assert_eq!(found, expected);
    let page: Vec<String> = rows
        .page("sorted", "a", 2)
        .await
        .unwrap()
        .into_iter()
        .map(|row| row.id)
        .collect();
    assert_eq!(page, ["a0", "b"]);
}

async fn keeps_kinds_apart(rows: &impl RowStore) {
    let changes = vec![
        (5, put("one", "x", json!(1))),
        (5, put("two", "x", json!(2))),
        (6, delete("one", "x")),
    ];
    rows.apply(&Batch {
        changes,
        applied: at(7),
    })
    .await
    .unwrap();
    assert_eq!(rows.row("one", "x").await.unwrap(), None);
    assert_eq!(rows.row("two", "x").await.unwrap().unwrap().value, json!(2));
}

async fn applies_whole_batches_in_order(rows: &impl RowStore) {
    let changes = vec![
        (7, put("w", "x", json!(1))),
        (8, delete("w", "x")),
        (9, put("w", "x", json!(3))),
    ];
    rows.apply(&Batch {
        changes,
        applied: at(10),
    })
    .await
    .unwrap();
    let row = rows.row("w", "x").await.unwrap().unwrap();
    assert_eq!(
        (row.value, row.log_index, row.origin.as_str()),
        (json!(3), 9, "log")
    );
    let spoiled = vec![
        (10, put("w", "x", json!(4))),
        (11, put("w", "y", json!(1e300 * 1e10))),
    ];
    if rows
        .apply(&Batch {
            changes: spoiled,
            applied: at(12),
        })
        .await
        .is_err()
    {
        assert_eq!(
            rows.row("w", "x").await.unwrap().unwrap().value,
            json!(3),
            "half a batch"
        );
        assert_eq!(rows.applied().await.unwrap(), Some(at(10)));
    }
}

async fn keeps_any_text(rows: &impl RowStore) {
    let value = json!({"text": "quote \" back \\ null \u{0} 😀 ' ;--", "deep": [[[{"a": null}]]], "n": -1.5});
    let change = put("text", "'; DROP TABLE rows; --", value.clone());
    rows.apply(&Batch {
        changes: vec![(12, change)],
        applied: at(13),
    })
    .await
    .unwrap();
    let row = rows.row("text", "'; DROP TABLE rows; --").await.unwrap().unwrap();
    assert_eq!(row.value, value);
}

async fn lists_more_than_a_page(rows: &impl RowStore) {
    let ids: Vec<String> = (0..2_500).map(|n| format!("{n:05}")).collect();
    let changes = ids.iter().map(|id| (13, put("many", id, json!(1)))).collect();
    rows.apply(&Batch {
        changes,
        applied: at(14),
    })
    .await
    .unwrap();
    let found: Vec<String> = rows
        .rows("many")
        .await
        .unwrap()
        .into_iter()
        .map(|row| row.id)
        .collect();
    assert_eq!(found, ids);
}

#[tokio::test]
async fn sqlite_in_a_file() {
    let temp = tempfile::tempdir().unwrap();
    suite(SqliteRows::open(&temp.path().join("records.db")).await.unwrap()).await;
}

#[tokio::test]
async fn sqlite_in_memory() {
    suite(SqliteRows::in_memory().await.unwrap()).await;
}

fn change() -> impl Strategy<Value = Change> {
    let (kind, id) = ("[ab]", "[a-d]");
    prop_oneof![
        (kind, id, any::<i32>()).prop_map(|(kind, id, n)| put(&kind, &id, json!(n))),
        (kind, id).prop_map(|(kind, id)| delete(&kind, &id)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn the_rows_are_the_sum_of_the_changes(batches in prop::collection::vec(prop::collection::vec(change(), 0..12), 1..8)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (found, expected) = runtime.block_on(async {
            let rows = SqliteRows::in_memory().await.unwrap();
            let mut expected: BTreeMap<(String, String), (Value, u64)> = BTreeMap::new();
            let mut size = 0;
            for batch in batches {
                let mut changes = Vec::new();
                for change in batch {
                    match &change {
                        Change::Put { kind, id, value } => {
                            expected.insert((kind.clone(), id.clone()), (value.clone(), size));
                        }
                        Change::Delete { kind, id } => {
                            expected.remove(&(kind.clone(), id.clone()));
                        }
                    }
                    changes.push((size, change));
                    size += 1;
                }
                rows.apply(&Batch { changes, applied: at(size) }).await.unwrap();
            }
            let mut found = BTreeMap::new();
            for kind in ["a", "b"] {
                for row in rows.rows(kind).await.unwrap() {
                    found.insert((row.kind, row.id), (row.value, row.log_index));
                }
            }
            (found, expected)
        });
        prop_assert_eq!(found, expected);
    }
}
