"""What initiators meet while LUNs are changed under their hands; run by
script/measure-live-changes."""
