//go:build cgo

package archive

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	_ "github.com/mattn/go-sqlite3" // the driver "sqlite3"
)

// Native tells that there is SQLite.
const Native = true

// Archive is a file of orders.
type Archive struct {
	dir      string
	database *sql.DB
}

// Open makes an archive in a folder of its own in dir. The caller closes it.
func Open(dir string) (*Archive, error) {
	dir, err := os.MkdirTemp(dir, "shop-archive-*")
	if err != nil {
		return nil, fmt.Errorf("archive: %w", err)
	}
	a := &Archive{dir: dir}
	a.database, err = sql.Open("sqlite3", filepath.Join(dir, "orders.db"))
	if err == nil {
		err = a.fill()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("archive: %w", err), a.Close())
	}
	return a, nil
}

func (a *Archive) fill() error {
	if _, err := a.database.Exec("CREATE TABLE past (number INTEGER PRIMARY KEY, note TEXT)"); err != nil {
		return err
	}
	all, err := a.database.Begin()
	if err != nil {
		return err
	}
	for number := range orderCount {
		note := fmt.Sprintf("%-*s", noteBytes, strings.Repeat("sent, ", number%10)+"paid")
		if _, err := all.Exec("INSERT INTO past VALUES (?, ?)", number, note); err != nil {
			return errors.Join(err, all.Rollback())
		}
	}
	return all.Commit()
}

// Note returns what was noted on an order. It reads one row and forgets that the rows must be closed: their
// connection is never free again, and the next search opens another one.
func (a *Archive) Note(number int) (string, error) {
	// The sum is the same for all; it has every page read.
	const search = "SELECT note FROM past WHERE number = ? AND (SELECT sum(length(note)) FROM past) > 0"
	rows, err := a.database.Query(search, number%orderCount) // culprit: sqlite
	if err != nil {
		return "", fmt.Errorf("archive: %w", err)
	}
	if !rows.Next() {
		return "", fmt.Errorf("archive: order %d: %w", number, errors.Join(rows.Err(), sql.ErrNoRows))
	}
	var note string
	err = rows.Scan(&note)
	return strings.TrimSpace(note), err
}

// Close removes the file. What searches keep stays.
func (a *Archive) Close() error { return os.RemoveAll(a.dir) }
