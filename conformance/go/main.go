// Command conformance verifies logs that Stockade wrote, with the Go team's sumdb/note and sumdb/tlog.
//
// Each argument is the folder of one log: checkpoint, tiles and entry bundles in C2SP layout, and claims.json with the
// log's Ed25519 verifier key and what Stockade proved about the log itself.
package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const tileHeight = 8

type claims struct {
	VerifierKey string `json:"verifier_key"`
	Inclusion   []struct {
		Index int64    `json:"index"`
		Proof []string `json:"proof"`
	} `json:"inclusion"`
	Consistency []struct {
		Size  int64    `json:"size"`
		Root  string   `json:"root"`
		Proof []string `json:"proof"`
	} `json:"consistency"`
}

// folder reads tiles from a C2SP tlog-tiles folder, whose names lack the height that Go's have.
type folder string

func (f folder) Height() int { return tileHeight }

func (f folder) SaveTiles([]tlog.Tile, [][]byte) {}

func (f folder) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var data [][]byte
	for _, tile := range tiles {
		name := strings.Replace(tile.Path(), fmt.Sprintf("tile/%d/", tileHeight), "tile/", 1)
		bytes, err := os.ReadFile(filepath.Join(string(f), name))
		if err != nil {
			return nil, err
		}
		data = append(data, bytes)
	}
	return data, nil
}

// entry reads one entry from its bundle.
func (f folder) entry(index, size int64) ([]byte, error) {
	tile := tlog.Tile{H: tileHeight, L: 0, N: index >> tileHeight, W: 1 << tileHeight}
	if (tile.N+1)<<tileHeight > size {
		tile.W = int(size & (1<<tileHeight - 1))
	}
	name := strings.Replace(tile.Path(), fmt.Sprintf("tile/%d/0/", tileHeight), "tile/entries/", 1)
	bundle, err := os.ReadFile(filepath.Join(string(f), name))
	if err != nil {
		return nil, err
	}
	for i := int64(0); ; i++ {
		if len(bundle) < 2 {
			return nil, errors.New("bundle is cut")
		}
		length := int(binary.BigEndian.Uint16(bundle))
		if len(bundle) < 2+length {
			return nil, errors.New("bundle is cut")
		}
		if i == index&(1<<tileHeight-1) {
			return bundle[2 : 2+length], nil
		}
		bundle = bundle[2+length:]
	}
}

func openCheckpoint(f folder, key string) (tlog.Tree, error) {
	var tree tlog.Tree
	verifier, err := note.NewVerifier(key)
	if err != nil {
		return tree, err
	}
	signed, err := os.ReadFile(filepath.Join(string(f), "checkpoint"))
	if err != nil {
		return tree, err
	}
	opened, err := note.Open(signed, note.VerifierList(verifier))
	if err != nil {
		return tree, err
	}
	if len(opened.Sigs) != 1 || len(opened.UnverifiedSigs) != 1 {
		return tree, errors.New("want the Ed25519 line verified, and one line of another type")
	}
	if _, err := note.Open(bytes.Replace(signed, []byte("\n"), []byte("x\n"), 1), note.VerifierList(verifier)); err == nil {
		return tree, errors.New("a changed checkpoint was opened")
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[0] != verifier.Name() || lines[3] != "" {
		return tree, fmt.Errorf("checkpoint text %q", opened.Text)
	}
	if tree.N, err = strconv.ParseInt(lines[1], 10, 64); err != nil {
		return tree, err
	}
	root, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || copy(tree.Hash[:], root) != len(tree.Hash) {
		return tree, fmt.Errorf("root %q", lines[2])
	}
	return tree, nil
}

func parse(hashes []string) ([]tlog.Hash, error) {
	parsed := []tlog.Hash{}
	for _, text := range hashes {
		var hash tlog.Hash
		bytes, err := hex.DecodeString(text)
		if err != nil || copy(hash[:], bytes) != len(hash) {
			return nil, fmt.Errorf("hash %q", text)
		}
		parsed = append(parsed, hash)
	}
	return parsed, nil
}

func same(claimed []tlog.Hash, proved []tlog.Hash) bool {
	return len(claimed) == 0 && len(proved) == 0 || reflect.DeepEqual(claimed, proved)
}

func verify(f folder) error {
	text, err := os.ReadFile(filepath.Join(string(f), "claims.json"))
	if err != nil {
		return err
	}
	var claims claims
	if err := json.Unmarshal(text, &claims); err != nil {
		return err
	}
	tree, err := openCheckpoint(f, claims.VerifierKey)
	if err != nil {
		return err
	}
	reader := tlog.TileHashReader(tree, f)
	for _, claim := range claims.Inclusion {
		proof, err := tlog.ProveRecord(tree.N, claim.Index, reader)
		if err != nil {
			return fmt.Errorf("proving entry %d: %w", claim.Index, err)
		}
		claimed, err := parse(claim.Proof)
		if err != nil {
			return err
		}
		if !same(claimed, proof) {
			return fmt.Errorf("entry %d: the proofs differ", claim.Index)
		}
		entry, err := f.entry(claim.Index, tree.N)
		if err != nil {
			return fmt.Errorf("entry %d: %w", claim.Index, err)
		}
		if err := tlog.CheckRecord(claimed, tree.N, tree.Hash, claim.Index, tlog.RecordHash(entry)); err != nil {
			return fmt.Errorf("entry %d: %w", claim.Index, err)
		}
		wrong := append([]byte{' '}, entry...)
		if tlog.CheckRecord(claimed, tree.N, tree.Hash, claim.Index, tlog.RecordHash(wrong)) == nil {
			return fmt.Errorf("entry %d: a wrong leaf was accepted", claim.Index)
		}
	}
	for _, claim := range claims.Consistency {
		proof, err := tlog.ProveTree(tree.N, claim.Size, reader)
		if err != nil {
			return fmt.Errorf("proving size %d: %w", claim.Size, err)
		}
		claimed, err := parse(claim.Proof)
		if err != nil {
			return err
		}
		if !same(claimed, proof) {
			return fmt.Errorf("size %d: the proofs differ", claim.Size)
		}
		root, err := parse([]string{claim.Root})
		if err != nil {
			return err
		}
		if err := tlog.CheckTree(claimed, tree.N, tree.Hash, claim.Size, root[0]); err != nil {
			return fmt.Errorf("size %d: %w", claim.Size, err)
		}
		root[0][0] ^= 1
		if tlog.CheckTree(claimed, tree.N, tree.Hash, claim.Size, root[0]) == nil {
			return fmt.Errorf("size %d: a wrong root was accepted", claim.Size)
		}
	}
	fmt.Printf("%d %d %d\n", tree.N, len(claims.Inclusion), len(claims.Consistency))
	return nil
}

func main() {
	for _, name := range os.Args[1:] {
		if err := verify(folder(name)); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
			os.Exit(1)
		}
	}
}
