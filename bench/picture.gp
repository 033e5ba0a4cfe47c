# Draw the rows of bench/rows that have a goal in numbers as bars. bench/run sets data, picture, rows (their number)
# and name1 to name4. Columns of data: place, description, millions of instructions for each
# name, and the goal.
set terminal svg size 1000,60+rows*52 font "sans-serif,13" background "white"
set output picture
set datafile separator "\t"

set title "What programs ask of VFIO, in millions of guest instructions: shorter is better\n".\
	"{/*0.85 cdev is the device's character device, type1 its group and a container; one vCPU, VT-d\n}".\
	"{/*0.85 each step of the scale is ten times the one before}"
set logscale x 10
set xrange [0.05:600]
set yrange [0.4:rows+0.6]
set xtics out nomirror ("0.1" 0.1, "1" 1, "10" 10, "100" 100)
set mxtics 10
set grid xtics lc rgb "#dddddd"
set ytics out nomirror scale 0
set border 3
set key outside bottom center horizontal reverse Left samplen 2
set lmargin 40
set style fill solid 1.0 noborder

array names[4] = [name1." (this series)", name2, name3, name4]
set style line 1 lc rgb "#d1495b"
set style line 2 lc rgb "#edae49"
set style line 3 lc rgb "#00798c"
set style line 4 lc rgb "#9dc7cf"

# Bars go from the edge to their value, one below the other; a missing value has no bar
there(n) = n > 0 ? n : 1/0
middle(place, i) = place + 0.5 - i * 0.2
plot data using (0.05):1:(0):ytic(2) with labels notitle, \
	for [i=1:4] data using (there(column(2+i))):(middle($1,i)):(0.05):(there(column(2+i))):(middle($1,i)-0.09):(middle($1,i)+0.09) \
		with boxxyerror ls i title names[i], \
	for [i=1:4] data using (there(column(2+i))*1.03):(middle($1,i)):(sprintf("%.3g", column(2+i))) \
		with labels left font ",9" notitle, \
	data using 7:($1-0.4):(0):(0.8) with vectors nohead lw 2 lc rgb "black" title "the goal"
