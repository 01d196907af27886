"""Grids of runs: table file -> cells -> what is missing -> workers -> leaderboard, whatever crashes."""
